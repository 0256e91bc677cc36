"""Several ways to compute the same, timed in turn: a machine that slows down slows all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from random import Random
from statistics import median, quantiles
from typing import TypeVar

import torch

from nas.runtime import interrupt
from nas.runtime.stopwatch import Clock, RepeatedWork, Stopwatch

Key = TypeVar("Key", bound=Hashable)

ROUNDS = 15
# One timing is of as many calls in a row as take this long together, after one that is not timed.
_SECONDS = 0.01


def time_side_by_side(
    runs: Mapping[Key, Callable[[], object]], clock: Clock, rounds: int = ROUNDS
) -> dict[Key, list[float]]:
    """Return the seconds of one call of everything, round by round.

    Args:
        runs: What to call, by name; on the CPU.
        clock: What measures, the same for all.
        rounds: How often each is timed; in a new order each round, so that nothing always follows the same.

    Raises:
        Interrupted: If the user asked to stop.
    """
    stopwatch = Stopwatch(torch.device("cpu"), clock)
    works = {name: RepeatedWork(stopwatch, run, _calls_that_fit, before=run) for name, run in runs.items()}
    seconds: dict[Key, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for number in range(rounds):
        Random(number).shuffle(order)
        for name in order:
            interrupt.check()
            seconds[name].append(works[name].measure())
    return seconds


def summarize_ms(seconds: list[float]) -> dict[str, float | list[float]]:
    """Return the median and the quartiles of timings in milliseconds."""
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return {"median_ms": 1e3 * median(seconds), "quartiles_ms": [1e3 * low, 1e3 * high]}


def _calls_that_fit(seconds: float) -> int:
    return max(1, math.floor(_SECONDS / max(seconds, 1e-9)))
