"""What a study has cost from its first step to its last: time by phase, and how long it held its devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from nas.study.folder import Study
from nas.study.time_sheet import FILE_NAME, PhaseTime, read_times
from nas.training import epoch_history
from nas.training.epoch_history import Epoch, SupernetEpoch, read_history

#: Phases in the order in which they follow one another.
PHASES = ("latencies", "teacher", "supernet", "ranking", "search", "retraining")


@dataclass(frozen=True)
class SpentTime:
    """What one phase has cost over all runs of a study.

    Args:
        phase: One of `PHASES`.
        seconds: By the wall.
        runs: Runs that worked at it; None where an earlier version did not count them.
        device_hours: Hours times devices, by kind of device; empty where an earlier version did not record them.
        record: The files that it was read from.
    """

    phase: str
    seconds: float
    runs: int | None
    device_hours: dict[str, float]
    record: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def compute_spent_times(study: Study, searching: timedelta | None) -> list[SpentTime]:
    """Return what every phase of a study has cost, in their order; phases that nothing is known of are left out.

    Studies of earlier versions have the time of their search in their trials, and that of retraining, summed over
    designs, in the tables of its epochs.

    Args:
        study: The study.
        searching: How long its trials took, or None where that is not known.

    Raises:
        StudyError: If a record of it is damaged.
    """
    by_phase = {phase: list[PhaseTime]() for phase in PHASES}
    for entry in read_times(study.folder):
        by_phase.setdefault(entry.phase, []).append(entry)
    found = []
    for phase, entries in by_phase.items():
        if entries:
            found.append(_sum_up(phase, entries))
        elif phase == "search" and searching is not None:
            found.append(SpentTime(phase, searching.total_seconds(), None, {}, "the trials"))
        elif phase == "retraining" and (seconds := _seconds_of_retraining(study)):
            record = f"retrained/*/*/{epoch_history.FILE_NAME}"
            found.append(SpentTime(phase, seconds, None, {}, record))
    return found


def is_supernet_complete(study: Study) -> bool:
    """Return whether the whole training of a study's supernet was recorded, from its first epoch on."""
    epochs = read_history(study.supernet_file.with_name(epoch_history.FILE_NAME), SupernetEpoch)
    return bool(epochs) and epochs[0].epoch == 1


def _sum_up(phase: str, entries: Sequence[PhaseTime]) -> SpentTime:
    hours: dict[str, float] = {}
    for entry in entries:
        hours[entry.device] = hours.get(entry.device, 0.0) + entry.device_hours
    return SpentTime(phase, sum(entry.seconds for entry in entries), len(entries), hours, FILE_NAME)


def _seconds_of_retraining(study: Study) -> float:
    paths = sorted(study.folder.glob(f"retrained/*/*/{epoch_history.FILE_NAME}"))
    return sum(epoch.seconds for path in paths for epoch in read_history(path, Epoch))
