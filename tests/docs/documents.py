"""What the tests of documents look for in Markdown (commands, paths, options, quoted files) and in the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from nas.cli.main import app
from tests.docs.cli_reference import cli_document
from tests.docs.operator_drawings import write_drawings
from tests.faults.rows import failures_document

ROOT = Path(__file__).parents[2]
#: The pages of the documentation, by path.
PAGES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))]
#: First parts of a path of this repository; everything else with a slash is an example.
TOP = {"search_spaces", "supernet", "nas", "studies", "tests", "docs", ".ci"}
COMMAND = typer.main.get_command(app)

_FENCE = re.compile(
    r"^(?:<!-- (?P<quotes>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block.

    Args:
        language: What stands behind the fence.
        text: The lines between the fences.
        quotes: Path of the file that the block repeats (named in a comment above it), or empty.
    """

    language: str
    text: str
    quotes: str


def read(document: str) -> str:
    """Return the text of a document of this repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of a document."""
    return [CodeBlock(m["language"], m["text"], m["quotes"] or "") for m in _FENCE.finditer(text)]


def console_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every line of console blocks that begins with ``$``, without comments and environment."""
    for block in code_blocks(text):
        if block.language == "console":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    words = shlex.split(line[2:], comments=True)
                    while re.match(r"[A-Z_]+=", words[0]):
                        del words[0]
                    yield words


def code_spans(text: str) -> list[str]:
    """Return the inline code of a document."""
    return _SPAN.findall(_FENCE.sub("", text))


def paths_of(text: str) -> Iterator[str]:
    """Yield every path of this repository that links, inline code and folder trees name."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if "://" not in target and not target.startswith("#"):
            yield target.partition("#")[0]
    for span in code_spans(text):
        if span.partition("/")[0] in TOP and "/" in span and " " not in span:
            yield span
    yield from tree_paths(text)


def tree_paths(text: str) -> Iterator[str]:
    """Yield the folders of drawn trees: lines ``name/   what it holds``, indented below their parent."""
    for block in code_blocks(text):
        parents: list[tuple[int, str]] = []
        for line in block.text.splitlines() if not block.language else ():
            if match := re.match(r"( *)([\w.]+/)(?: |$)", line):
                indent, name = len(match[1]), match[2]
                parents = [parent for parent in parents if parent[0] < indent]
                parents.append((indent, name))
                yield "".join(name for _, name in parents)


def with_current_quotes(text: str) -> str:
    """Return a document with every quoted file as it is now."""

    def quote(match: re.Match[str]) -> str:
        if not match["quotes"]:
            return match[0]
        return f"<!-- {match['quotes']} -->\n```{match['language']}\n{read(match['quotes'])}```"

    return _FENCE.sub(quote, text)


def settings_document() -> str:
    """Return the text of ``studies/SETTINGS.md``."""
    from nas.study.settings_table import settings_to_markdown

    return (
        "# Settings\n\nEvery setting of a search, its key in `study.yaml` and its option; `make table` writes this "
        f"file from their declarations.\n\n{settings_to_markdown()}"
    )


def recipes_document() -> str:
    """Return the text of ``studies/RECIPES.md``."""
    from nas.study.named_recipes.table import recipes_to_markdown

    return (
        "# Recipes\n\nThe recipes that `--recipe` knows, every number with its source; `make table` writes this "
        f"file from `nas/study/named_recipes/`.\n\n{recipes_to_markdown()}"
    )


def exists(path: str) -> bool:
    """Return whether a path, in which ``<name>`` and ``*`` stand for anything, is in the tree."""
    return any(ROOT.glob(re.sub(r"<\w+>", "*", path.rstrip("/"))))


def options_of(command: Any) -> set[str]:
    """Return every option of a command and of those below it."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*(options_of(child) for child in getattr(command, "commands", {}).values()))


def parse_command(words: list[str], strict: bool = True) -> None:
    """Parse the words of a ``nas`` command without running it; arguments may be missing unless ``strict``."""
    assert "--install-completion" not in words, (
        "it is installed where it is parsed; write it within a sentence"
    )
    context = COMMAND.make_context("nas", words[1:], resilient_parsing=not strict)
    name, command, rest = COMMAND.resolve_command(context, words[1:])
    command.make_context(name, rest, parent=context, resilient_parsing=not strict)


def main() -> None:
    """Write what documents repeat: quoted files, the page of the commands, drawings, tables of settings and recipes."""
    for document in ("README.md", *PAGES):
        (ROOT / document).write_text(with_current_quotes(read(document)), encoding="utf-8")
    (ROOT / "docs" / "reference" / "cli.md").write_text(cli_document(), encoding="utf-8")
    (ROOT / "docs" / "reference" / "failures.md").write_text(failures_document(), encoding="utf-8")
    write_drawings()
    (ROOT / "studies" / "SETTINGS.md").write_text(settings_document(), encoding="utf-8")
    (ROOT / "studies" / "RECIPES.md").write_text(recipes_document(), encoding="utf-8")


if __name__ == "__main__":
    main()
