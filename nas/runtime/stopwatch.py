"""The stopwatch of every measurement: how long work takes on a device, by the clock that suits it.

Benches, latency tables and the throughput of an exported model measure with it. The pace of a training
(``StepTimer``) is something else: it records the steps that a training takes anyway (``Span``), and repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Clock = Literal["core", "wall", "cuda events"]


def choose_clock(device: torch.device, threads: int) -> Clock:
    """Return the clock for work on ``device`` that uses ``threads`` threads of a CPU.

    One thread is timed on its core: the same as on the wall of an idle machine, and not lengthened by whatever
    else runs on a busy one. Several threads are timed on the wall.
    """
    if device.type == "cuda":
        return "cuda events"
    return "core" if threads == 1 else "wall"


@dataclass(frozen=True)
class Stopwatch:
    """Measures seconds.

    Args:
        device: Where the work is done.
        clock: ``core`` is the time that the calling thread spends on its core, ``wall`` the time that passes,
            ``cuda events`` what passes on the GPU between the first and the last kernel of the work.
    """

    device: torch.device
    clock: Clock

    def synchronize(self) -> None:
        """Wait until the device has done all the work that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def now(self) -> float:
        """Return what the clock shows in seconds once the device has done its work.

        Events measure spans only, so where they are the clock the time of the wall is returned.
        """
        self.synchronize()
        return time.thread_time() if self.clock == "core" else time.perf_counter()

    def measure(self, work: Callable[[], object]) -> float:
        """Do the work and return the seconds that it took."""
        if self.clock == "cuda events":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            return 1e-3 * start.elapsed_time(end)
        began = self.now()
        work()
        return self.now() - began


class Span:
    """How long work takes that is under way anyway, asked for later: measuring it makes nobody wait.

    A training on a GPU only queues its steps, and waits for them every so often. What a clock of the CPU shows
    between two steps is therefore the time of queueing; events in the queue show the time of the work.

    Args:
        device: Where the work is done; it begins now.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._start = self._end = self._mark()

    def end(self) -> None:
        """Say that all of the work has been given to the device."""
        self._end = self._mark()

    def seconds(self) -> float | None:
        """Return what the work took, or None as long as a GPU is at it."""
        if not self._on_gpu:
            return float(self._end - self._start)
        return 1e-3 * float(self._start.elapsed_time(self._end)) if self._end.query() else None

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class RepeatedWork:
    """Work that is measured again and again, each time as many calls in a row as a good measurement needs.

    It is called twice at the start: the first call allocates memory and chooses kernels, the second one decides
    how many calls make one measurement.

    Args:
        stopwatch: What measures it.
        work: One call.
        repeats_for: Returns the calls of one measurement, at least 1, given the seconds of a single one.
        before: Called before each measurement, and not measured.

    Attributes:
        spent: Seconds of all measurements so far, those of the start left out.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        work: Callable[[], object],
        repeats_for: Callable[[float], int],
        before: Callable[[], object],
    ) -> None:
        self.stopwatch, self.work, self.before = stopwatch, work, before
        self.repeats, self.spent = 1, 0.0
        self.measure()
        self.repeats = repeats_for(self.measure())
        self.spent = 0.0

    def measure(self) -> float:
        """Return the seconds of one call, averaged over the calls of one measurement."""
        self.before()
        seconds = self.stopwatch.measure(self._repeat)
        self.spent += seconds
        return seconds / self.repeats

    def _repeat(self) -> None:
        for _ in range(self.repeats):
            self.work()
