"""Every command's arguments and options, with kinds and defaults, as text.

``python -m tests.nas.cli.surface > tests/nas/cli/surface.txt`` writes the text that the test compares with.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from nas.cli.main import app


def describe_surface() -> str:
    """Return a paragraph for every command, sorted, with its parameters, sorted likewise."""
    commands: dict[str, Any] = {"nas": app.registered_callback.callback if app.registered_callback else None}
    for command in app.registered_commands:
        commands[f"nas {command.name or getattr(command.callback, '__name__', '')}"] = command.callback
    return "\n".join(
        "\n".join([name, *sorted(describe_parameters(callback))]) + "\n"
        for name, callback in sorted(commands.items())
        if callback is not None
    )


def describe_parameters(callback: Callable[..., Any]) -> list[str]:
    """Return a line for every argument and option."""
    parameters = inspect.signature(callback, eval_str=True).parameters.values()
    return [describe(each) for each in parameters if each.annotation is not typer.Context]


def describe(parameter: inspect.Parameter) -> str:
    """Return name, kind, range and default of a parameter."""
    kind, info = get_args(parameter.annotation)
    is_argument = isinstance(info, ArgumentInfo)
    name = (info.metavar or parameter.name) if is_argument else flags_of(parameter.name, info)
    limits = [f"{word} {value}" for word in ("min", "max") if (value := getattr(info, word)) is not None]
    default = "required" if parameter.default is parameter.empty else f"= {parameter.default!r}"
    return " ".join(["   ", name, f"<{name_kind(kind)}>", *limits, default])


def flags_of(name: str, info: Any) -> str:
    """Return an option as it is typed, by the name of its parameter where it has no name of its own."""
    declared = [info.default, *(info.param_decls or ())]
    flags = [each for each in declared if isinstance(each, str) and each.startswith("--")]
    return ", ".join(flags) or f"--{name.replace('_', '-')}"


def name_kind(kind: Any) -> str:
    """Return a type as people write it, None aside."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is list:
        return f"{name_kind(get_args(kind)[0])}, repeatable"
    return str(kind.__name__)


if __name__ == "__main__":
    print(describe_surface(), end="")
