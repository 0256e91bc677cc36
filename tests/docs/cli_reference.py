"""The page of the command line, ``docs/reference/cli.md``, from what each command declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

import typer
from typer.models import ArgumentInfo, CommandInfo

from nas.cli.main import app
from tests.nas.cli.surface import flags_of, name_kind

_HEAD = """\
# Commands

What can be typed, as `--help` behind each command prints it; `make table` writes this page from them. Results go
to standard output, everything else to standard error. Exit codes: 0 done, 1 the work failed, 2 the request was wrong,
130 interrupted ([more](../howto/resume.md#exit-codes)).

`nas --install-completion`, typed once, makes bash, zsh, fish or PowerShell complete commands, options, and names of
spaces, studies and recipes.
"""


def cli_document() -> str:
    """Return the text of ``docs/reference/cli.md``."""
    return "\n".join([_HEAD, *map(command_section, app.registered_commands)])


def command_section(command: CommandInfo) -> str:
    """Return what one command does, how it is called, examples, and a table of its options for every panel."""
    callback = command.callback
    assert callback is not None
    parameters = parameters_of(callback)
    arguments = [info for _, info, _ in parameters.values() if isinstance(info, ArgumentInfo)]
    usage = " ".join(["nas", str(command.name), *(str(each.metavar) for each in arguments), "[OPTIONS]"])
    parts = [f"## nas {command.name}", str(inspect.getdoc(callback)), f"```\n{usage}\n```"]
    if command.epilog:
        parts.append(f"```console\n{typed_lines(command.epilog)}\n```")
    panels: dict[str, list[str]] = {}
    for name, (kind, info, default) in parameters.items():
        panels.setdefault(info.rich_help_panel or panel_of(info), []).append(row(name, kind, info, default))
    for panel, rows in panels.items():
        parts.append("\n".join([f"| {panel} | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def parameters_of(callback: Callable[..., Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Return type, declaration and default of every parameter that can be typed."""
    declared = inspect.signature(callback, eval_str=True).parameters.values()
    return {
        each.name: (*get_args(each.annotation), each.default)
        for each in declared
        if each.annotation is not typer.Context
    }


def panel_of(info: Any) -> str:
    """Return the title of what has no panel of its own."""
    return "Arguments" if isinstance(info, ArgumentInfo) else "Options"


def row(name: str, kind: Any, info: Any, default: Any) -> str:
    """Return the row of one argument or option."""
    shown = f"`{info.metavar}`" if isinstance(info, ArgumentInfo) else f"`{flags_of(name, info)}`"
    if not isinstance(info, ArgumentInfo) and (kind_name := name_kind(kind)) != "bool":
        shown += f" {(info.metavar or kind_name).replace('|', ' or ')}"
    return f"| {shown} | {default_of(info, default)} | {str(info.help).replace('|', chr(92) + '|')} |"


def default_of(info: Any, default: Any) -> str:
    """Return the default as the help shows it."""
    if isinstance(info.show_default, str):
        return info.show_default
    if default is inspect.Parameter.empty:
        return "required"
    return "" if default is None or default is False else f"`{default}`"


def typed_lines(epilog: str) -> str:
    """Return the commands of a help's examples, each behind its comment."""
    return "\n".join(f"$ {line}" for line in example_lines(epilog))


def example_lines(epilog: str) -> Iterator[str]:
    """Yield the command lines among the examples of a help."""
    yield from (line.strip() for line in epilog.splitlines() if line.strip().startswith("nas "))
