"""A network as a tree of constructor calls, which can be run or printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A constructor with its arguments, which may be calls themselves.

    Args:
        target: What to call.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def build(self) -> Any:
        """Return the object, with all calls among the arguments built first."""
        return self.target(*map(_build, self.args), **{name: _build(value) for name, value in self.kwargs})


def call(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    """Return a call, leaving out keyword arguments that are None."""
    return Call(target, args, tuple((name, value) for name, value in kwargs.items() if value is not None))


def _build(value: Any) -> Any:
    if isinstance(value, Call):
        return value.build()
    return [_build(item) for item in value] if isinstance(value, list) else value
