"""Faults that tests bring about, and the page that lists them: `docs/reference/failures.md`.

A test declares its row above itself::

    @fault("the disk is full", during="`nas report`", outcome="exit 1", lost="nothing", told="...")
    def test_...

`make table` writes the page from all files of this folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

_HEADER = """\
# What fails, and what then

Each row is a test that brings the fault about, in `tests/faults/`; `make faults` runs them all, and `make table`
writes this page from them. *Goes on* means that the same command, typed again, does not repeat what was finished.

"""


@dataclass(frozen=True)
class Fault:
    """A row.

    Args:
        fault: What happens.
        during: What runs meanwhile.
        outcome: How the command ends or goes on.
        lost: What has to be done again or is gone.
        told: What is said.
    """

    fault: str
    during: str
    outcome: str
    lost: str
    told: str


def fault(name: str, *, during: str, outcome: str, lost: str, told: str) -> Callable[[Test], Test]:
    """Declare a row of a test, which may have several."""

    def declare(test: Test) -> Test:
        rows = [Fault(name, during, outcome, lost, told), *getattr(test, "faults", ())]
        test.faults = rows  # type: ignore[attr-defined]
        return test

    return declare


def collect() -> list[Fault]:
    """Return the rows of all tests of this folder, in the order of files and lines."""
    rows: list[Fault] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for test in vars(importlib.import_module(f"tests.faults.{path.stem}")).values():
            rows.extend(getattr(test, "faults", ()))
    return rows


def failures_document() -> str:
    """Return the text of ``docs/reference/failures.md``."""
    lines = ["| fault | during | outcome | lost | told |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in astuple(row))} |" for row in collect()]
    return _HEADER + "\n".join(lines) + "\n"
