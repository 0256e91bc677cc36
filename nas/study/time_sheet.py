"""How long a study has worked at what, and on how many devices: ``times.json``, over all its runs.

Every phase of every run is an entry of its own. It is written while the phase goes on, so that a run that is killed
loses at most the last seconds, and what it did in vain counts as well: it held its devices all the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nas.cluster.budget import WorkerAllocation
from nas.runtime.console import log
from nas.runtime.documents import read_document
from nas.runtime.files import write_json
from search_spaces.errors import StudyError, WorkError

FILE_NAME = "times.json"
_WRITE_SECONDS = 10.0  # between two entries of a phase that goes on
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class PhaseTime:
    """One phase of one run.

    Args:
        phase: What was done, such as ``supernet``.
        began: When, in ISO 8601.
        seconds: How long, by the wall.
        device: What held it up: ``cuda`` or ``cpu``.
        devices: GPUs that were held, or CPU cores where there were none.
    """

    phase: str
    began: str
    seconds: _Amount
    device: str
    devices: _Amount

    @property
    def device_hours(self) -> float:
        """Hours times devices."""
        return self.seconds * self.devices / 3600


def read_times(folder: Path) -> list[PhaseTime]:
    """Return all phases of a study, first to last; none where an earlier version wrote none.

    Args:
        folder: The study's.

    Raises:
        StudyError: If the file is damaged.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    found: list[PhaseTime] = read_document(path, list[PhaseTime])
    return found


@contextlib.contextmanager
def record_phase(folder: Path, phase: str, allocation: WorkerAllocation) -> Iterator[None]:
    """Record how long the work inside takes; whoever enters holds the study's lock.

    Args:
        folder: The study's.
        phase: What is done.
        allocation: The workers that are held meanwhile.
    """
    each = allocation.gpus_per_worker or allocation.cpus_per_worker
    began = datetime.now(UTC).isoformat(timespec="seconds")
    entry = PhaseTime(phase, began, 0.0, allocation.device, allocation.workers * each)
    try:
        earlier = read_times(folder)
    except StudyError as error:  # a record of times is no reason to refuse the work
        log.say(f"warning   times are not recorded: {error}")
        yield
        return
    started, ended = time.monotonic(), threading.Event()

    def write() -> None:
        seconds = round(time.monotonic() - started, 3)
        if folder.is_dir():  # which somebody may have moved away
            write_json(folder / FILE_NAME, _to_json([*earlier, replace(entry, seconds=seconds)]))

    def write_repeatedly() -> None:
        while not ended.wait(_WRITE_SECONDS):
            with contextlib.suppress(WorkError):  # the last writing says so
                write()

    writer = threading.Thread(target=write_repeatedly, name="times", daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        try:
            write()
        except WorkError as error:  # nor to fail it
            log.say(f"warning   times are not recorded: {error}")


def _to_json(times: Sequence[PhaseTime]) -> list[dict[str, object]]:
    return [asdict(each) for each in times]
