"""Exceptions become one line, whatever their message is."""

from __future__ import annotations

import pytest

from nas.runtime.error_text import first_line, last_line


@pytest.mark.parametrize(
    ("message", "first", "last"),
    [
        ("one line", "one line", "one line"),
        ("the reason\n  advice\nmore advice\n", "the reason", "more advice"),
        ("\n\n  after blank lines  \n\t\n", "after blank lines", "after blank lines"),
        ("", "ValueError", "ValueError"),
        (" \n\t\n", "ValueError", "ValueError"),
    ],
)
def test_first_and_last_line(message: str, first: str, last: str) -> None:
    error = ValueError(message)
    assert (first_line(error), last_line(error)) == (first, last)


def test_an_error_without_a_message_is_its_type() -> None:
    assert first_line(ZeroDivisionError()) == last_line(ZeroDivisionError()) == "ZeroDivisionError"
