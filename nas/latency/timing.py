"""What modules take on a device, timed in turn so that a machine of changing speed is fair to all of them.

A core whose speed changes by half from one minute to the next would give the parts of a network different
clocks. So on a CPU every timing stands between two of a yardstick, the same small product of matrices, and is
counted in yardsticks; what is returned is those times their median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from random import Random
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from nas.runtime import interrupt
from nas.runtime.stopwatch import Clock, RepeatedWork, Stopwatch, choose_clock

Key = TypeVar("Key", bound=Hashable)

# The one rule for repeats: a module is timed once a round, after a run that is not timed, over as many runs in
# a row as fit into _RUN_SECONDS (at least one), until it had _ROUNDS timings or spent _SECONDS (at least
# _MIN_ROUNDS). Timings of small modules are so far above what a clock or a CUDA event resolves, and n modules
# take at most about n * max(_SECONDS, _MIN_ROUNDS * one run), the runs that are not timed and the yardsticks.
_RUN_SECONDS = 0.003
_SECONDS = 0.05
_ROUNDS, _MIN_ROUNDS = 9, 5
_YARD, _YARDS = 256, 4  # side of the yardstick's matrices, products in a row: about a millisecond


def time_modules(
    builders: Mapping[Key, Callable[[], tuple[Callable[[Tensor], object], Tensor]]],
    device: torch.device,
    on_progress: Callable[[int, int], None],
    clock: Clock | None = None,
) -> dict[Key, float]:
    """Return the seconds of one run of every module, the median over its rounds.

    Args:
        builders: Each returns a module, or what runs it elsewhere, and its input, on ``device``.
        device: Where they run.
        on_progress: Called with ``(done, total)`` timings.
        clock: What measures; that of one thread where it is left out.

    Raises:
        Interrupted: If the user asked to stop.
    """
    # A CPU is measured with one thread.
    stopwatch = Stopwatch(device, clock or choose_clock(device, threads=1))
    runs: dict[Key, RepeatedWork] = {}
    total = (1 + _ROUNDS) * len(builders)
    for done, (key, build) in enumerate(builders.items()):
        interrupt.check()
        on_progress(done, total)
        module, inputs = build()
        run = partial(module, inputs)
        # The run before each timing brings back to the caches what other modules took out.
        runs[key] = RepeatedWork(stopwatch, run, _runs_that_fit, before=run)
    yardstick = Yardstick(stopwatch) if device.type == "cpu" else None
    times: dict[Key, list[float]] = {key: [] for key in builders}
    yards: list[float] = []
    order = list(builders)
    for number in range(1, 1 + _ROUNDS):
        # A new order each round, so that no module always follows the same one.
        Random(number).shuffle(order)
        for done, key in enumerate(order, start=number * len(order)):
            interrupt.check()
            on_progress(done, total)
            if len(times[key]) >= _MIN_ROUNDS and runs[key].spent >= _SECONDS:
                continue
            if yardstick is None:
                times[key].append(runs[key].measure())
            else:
                before, seconds, after = yardstick.measure(), runs[key].measure(), yardstick.measure()
                yards.append((before + after) / 2)
                times[key].append(seconds / yards[-1])
    on_progress(total, total)
    unit = median(yards) if yards else 1.0
    return {key: unit * median(timings) for key, timings in times.items()}


def _runs_that_fit(seconds: float) -> int:
    return max(1, math.floor(_RUN_SECONDS / seconds))


class Yardstick:
    """A product of matrices that fit a core's cache."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch, self.matrix = stopwatch, torch.ones(_YARD, _YARD)
        self.measure()

    def measure(self) -> float:
        """Return the seconds that it takes now."""
        return self.stopwatch.measure(self._multiply)

    def _multiply(self) -> None:
        for _ in range(_YARDS):
            self.matrix @ self.matrix
