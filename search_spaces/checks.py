"""Checks of plain values that come from YAML, JSON or a caller."""

from __future__ import annotations

from typing import TypeGuard


def is_int(value: object) -> TypeGuard[int]:
    """Return whether ``value`` is an integer; True and False, which Python counts among them, are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether ``value`` is an integer or a float, but neither True nor False."""
    return is_int(value) or isinstance(value, float)
