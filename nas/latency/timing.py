"""What modules take on a device, timed in turn so that a machine of changing speed is fair to all of them.

A core whose speed changes by half from one minute to the next would give the parts of a network different
clocks. So on a CPU every timing stands between two of a yardstick, the same small product of matrices, and is
counted in yardsticks; what is returned is those times their median.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from random import Random
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas.runtime import interrupt

Key = TypeVar("Key", bound=Hashable)

# The one rule for repeats: a module is timed once a round, after a run that is not timed, over as many runs in
# a row as fit into _RUN_SECONDS (at least one), until it had _ROUNDS timings or spent _SECONDS (at least
# _MIN_ROUNDS). Timings of small modules are so far above what a clock or a CUDA event resolves, and n modules
# take at most about n * max(_SECONDS, _MIN_ROUNDS * one run), the runs that are not timed and the yardsticks.
_RUN_SECONDS = 0.003
_SECONDS = 0.05
_ROUNDS, _MIN_ROUNDS = 9, 5
_YARD, _YARDS = 256, 4  # side of the yardstick's matrices, products in a row: about a millisecond


def seconds_of(
    made: Mapping[Key, Callable[[], tuple[nn.Module, Tensor]]],
    device: torch.device,
    progress: Callable[[int, int], None],
) -> dict[Key, float]:
    """Return the seconds of one run of every module, the median over its rounds.

    Args:
        made: Makes each module and its input, on ``device``.
        device: Where.
        progress: Told ``(done, total)`` timings.

    Raises:
        Interrupted: If the user asked to stop.
    """
    timers: dict[Key, _Timer] = {}
    total = (1 + _ROUNDS) * len(made)
    for done, (key, make) in enumerate(made.items()):
        interrupt.check()
        progress(done, total)
        timers[key] = _Timer(*make())
    yardstick = _Yardstick() if device.type == "cpu" else None
    times: dict[Key, list[float]] = {key: [] for key in made}
    yards: list[float] = []
    order = list(made)
    for number in range(1, 1 + _ROUNDS):
        # A new order each round, so that no module always follows the same one.
        Random(number).shuffle(order)
        for done, key in enumerate(order, start=number * len(order)):
            interrupt.check()
            progress(done, total)
            past, timer = times[key], timers[key]
            if len(past) >= _MIN_ROUNDS and timer.spent >= _SECONDS:
                continue
            if yardstick is None:
                past.append(timer.once())
            else:
                before, seconds, after = yardstick.once(), timer.once(), yardstick.once()
                yards.append((before + after) / 2)
                past.append(seconds / yards[-1])
    progress(total, total)
    unit = median(yards) if yards else 1.0
    return {key: unit * median(past) for key, past in times.items()}


class _Timer:
    """Times one module, warmed up.

    Args:
        module: The module, where it is measured.
        inputs: What goes in.
    """

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self.module, self.inputs = module, inputs
        self.runs, self.spent = 1, 0.0
        self.once()  # allocates, chooses kernels
        self.runs = max(1, math.floor(_RUN_SECONDS / self.once()))
        self.spent = 0.0  # the timings that count

    def once(self) -> float:
        """Run the module ``runs`` times after one that is not timed, and return the seconds of one run."""
        self.module(self.inputs)  # brings back to the caches what other modules took out
        if self.inputs.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self._run()
            end.record()
            end.synchronize()
            seconds = 1e-3 * start.elapsed_time(end)
        else:
            # Time on the core rather than on the wall: not lengthened by whatever else runs on a busy machine.
            began = time.thread_time()
            self._run()
            seconds = time.thread_time() - began
        self.spent += seconds
        return seconds / self.runs

    def _run(self) -> None:
        for _ in range(self.runs):
            self.module(self.inputs)


class _Yardstick:
    """A product of matrices that fit a core's cache."""

    def __init__(self) -> None:
        self.matrix = torch.ones(_YARD, _YARD)
        self.once()

    def once(self) -> float:
        """Return the seconds that it takes now."""
        began = time.thread_time()
        for _ in range(_YARDS):
            self.matrix @ self.matrix
        return time.thread_time() - began
