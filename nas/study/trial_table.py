"""``trials.csv``: every trial of a study as a line, written while the search works, for spreadsheets and pandas.

A line is appended with each finished trial. The file is written whole, in one step, where a search begins or ends, and
where a trial has a score that no line before it had: what a kill leaves can be read up to its last whole line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.runtime.files import write_text
from nas.search.trial_store import TrialRecord

_BEFORE, _AFTER = ("batch", "place", "digest", "origin", "outcome", "on_front"), ("images", "design")


def trial_rows(records: Sequence[TrialRecord], front: Collection[str] | None) -> list[dict[str, Any]]:
    """Return trials as the lines of a table, each with all columns.

    Args:
        records: The trials.
        front: Digests of the designs of the front; None where there is none yet.
    """
    names = sorted({name for record in records for name in record.scores})
    return [_to_row(record, names, front) for record in records]


def _to_row(record: TrialRecord, names: Sequence[str], front: Collection[str] | None) -> dict[str, Any]:
    digest = record.architecture.digest
    return {
        "batch": record.batch + 1,
        "place": record.index_in_batch + 1,
        "digest": digest,
        "origin": record.origin,
        "outcome": describe_outcome(record),
        "on_front": "" if front is None else record.eligible and digest in front,
        **{name: record.scores.get(name, "") for name in names},
        "images": record.images or "",
        "design": str(record.architecture),
    }


def describe_outcome(record: TrialRecord) -> str:
    """Return what became of a trial, in a word or two."""
    if record.repeat:
        return "repeated"
    if record.failed is not None:
        return "failed"
    if record.rejected is not None:
        return "over a limit"
    return "evaluated" if record.measured else "stopped early"


def to_csv(rows: Sequence[Mapping[str, Any]], *, head: bool = True) -> str:
    """Return rows of the same columns as CSV; nothing of none."""
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        if head:
            table.writeheader()
        table.writerows(rows)
    return text.getvalue()


def write_trials(path: Path, records: Sequence[TrialRecord], front: Sequence[TrialRecord]) -> None:
    """Write all trials of a search that ended, and which designs are on its front; nothing where there are none."""
    if records:
        digests = {record.architecture.digest for record in front}
        write_text(path, to_csv(trial_rows(records, digests)))


class TrialTable:
    """The file of a study while a search adds to it.

    Args:
        path: The file.
        earlier: The trials of earlier runs.
    """

    def __init__(self, path: Path, earlier: Sequence[TrialRecord]) -> None:
        self._path, self._records = path, list(earlier)
        self._names: list[str] = []
        if earlier:
            self._write()

    def add(self, record: TrialRecord) -> None:
        """Append a finished trial."""
        self._records.append(record)
        if not set(record.scores) <= set(self._names):
            self._write()
            return
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            file.write(to_csv([_to_row(record, self._names, None)], head=False))

    def _write(self) -> None:
        self._names = sorted({name for record in self._records for name in record.scores})
        write_text(self._path, to_csv(trial_rows(self._records, None)))
