"""Exceptions of other projects shortened to one line, for messages of one sentence."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not blank, or the error's type where there is none."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Return the last such line, which names the error where the message holds a traceback, as Ray's do."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
