"""Checks of plain values."""

from __future__ import annotations

import pytest

from search_spaces.checks import is_int, is_number


@pytest.mark.parametrize(
    ("value", "an_int", "a_number"),
    [
        (0, True, True),
        (-3, True, True),
        (0.5, False, True),
        (True, False, False),
        (False, False, False),
        ("1", False, False),
        (None, False, False),
    ],
)
def test_true_and_false_are_no_numbers(value: object, an_int: bool, a_number: bool) -> None:
    assert (is_int(value), is_number(value)) == (an_int, a_number)
