"""What a known fault is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A change that makes the code wrong.

    Attributes:
        name: What is wrong then.
        file: The file.
        right: Text that stands there once.
        wrong: What takes its place.
        tests: Where the tests are that should notice.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]
