"""What documents say exists: commands parse, options and paths are there, quoted files are the files."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from search_spaces.declaration import parse_declaration
from tests.docs import documents
from tests.docs.documents import (
    COMMAND,
    PAGES,
    ROOT,
    code_blocks,
    code_spans,
    console_commands,
    options_of,
    parse_command,
    read,
)

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "studies/SETTINGS.md", "studies/RECIPES.md"]
DOCUMENTS += ["tests/golden/old_study/README.md", *PAGES]
DOCUMENTS += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "studies").glob("*/NOTES.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_parse(document: str) -> None:
    makefile = read("Makefile")
    for words in console_commands(read(document)):
        if words[0] == "nas":
            parse_command(words)
        elif words[0] == "make":
            assert all(
                re.search(rf"^{target}:", makefile, re.M) for target in words[1:] if "=" not in target
            ), words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_inline_commands_and_options_are_known(document: str) -> None:
    known = options_of(COMMAND) | {"--help"}
    for span in code_spans(read(document)):
        if span.startswith("nas ") and not span.startswith("nas --"):
            parse_command(span.split(), strict=False)
        if (option := span.removeprefix("nas ")).startswith("--"):
            assert option.split()[0] in known, span
        if re.fullmatch(r"make [a-z ]+", span):
            assert all(re.search(rf"^{target}:", read("Makefile"), re.M) for target in span.split()[1:]), span


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_exist(document: str) -> None:
    folder = ROOT / document
    named = set(documents.paths_of(read(document)))
    absent = {path for path in named if not documents.exists(path) and not (folder.parent / path).exists()}
    assert absent == set()


@pytest.mark.parametrize("document", ["docs/concepts/search.md", "CONTRIBUTING.md"])
def test_trees_name_every_room(document: str) -> None:
    rooms = {f"nas/{path.parent.name}/" for path in (ROOT / "nas").glob("*/__init__.py")}
    named = set(documents.tree_paths(read(document)))
    assert rooms <= named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_spaces_and_environment_variables_are_read(document: str) -> None:
    text = read(document)
    for block in code_blocks(text):
        if block.language == "yaml" and block.text.startswith("name:") and not block.quotes:
            declaration = parse_declaration(block.text, document)
            for scale in declaration.scales:
                assert declaration.space(scale).size > 1
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("[ns]*/**/*.py")) + read(
        "tests/conftest.py"
    )
    sources += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for name in re.findall(r"\bNAS_[A-Z_]+\b", text):
        assert f'"{name}"' in sources, name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_quoted_files_are_the_files(document: str) -> None:
    """`make table` quotes them anew."""
    assert documents.with_current_quotes(read(document)) == read(document)


def test_the_table_of_settings_is_that_of_their_declarations() -> None:
    assert read("studies/SETTINGS.md") == documents.settings_document()


def test_the_tables_of_recipes_are_those_of_their_files() -> None:
    assert read("studies/RECIPES.md") == documents.recipes_document()


def test_the_page_of_the_commands_is_what_they_declare() -> None:
    assert read("docs/reference/cli.md") == documents.cli_document()
    assert read("docs/reference/failures.md") == documents.failures_document()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_compiles(document: str) -> None:
    for block in code_blocks(read(document)):
        if block.language == "python":
            compile(block.text, document, "exec")


def test_the_snippet_of_the_tutorial_runs_in_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The export is of an earlier version: what it is used by stays as it is."""
    (export,) = (ROOT / "tests" / "golden" / "old_study" / "exports").iterdir()
    blocks = code_blocks(read("docs/tutorial.md"))
    (snippet,) = (block.text for block in blocks if block.language == "python" and "from model" in block.text)
    monkeypatch.syspath_prepend(export)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    names: dict[str, object] = {}
    exec(snippet, names)
    monkeypatch.delitem(sys.modules, "model")
    probabilities = names["probabilities"]
    assert isinstance(probabilities, torch.Tensor)
    assert probabilities.shape == (1, 3) and probabilities.sum().item() == pytest.approx(1)


def test_the_docs_show_the_whole_example_of_an_operator() -> None:
    """Were a file left out, whoever follows the recipe would miss it."""
    example = ROOT / "tests" / "examples" / "new_operator"
    files = {
        str(path.relative_to(ROOT)) for path in example.rglob("*") if path.suffix in (".py", ".toml", ".yaml")
    }
    quoted = {block.quotes for block in code_blocks(read("docs/howto/operator.md"))}
    assert {file for file in files if read(file).strip()} <= quoted
