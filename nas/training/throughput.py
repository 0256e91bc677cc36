"""How fast images come against how fast they are used: said once when a training starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from torch import Tensor

_WARM_UP, _STEPS = 3, 20
_BATCHES, _SECONDS = 20, 3.0


class StepTimer:
    """Seconds of the first steps of a training, the very first left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """Count a step."""
        if len(self.seconds) < _WARM_UP + _STEPS:
            self.seconds.append(seconds)

    def rate(self, images: int) -> float | None:
        """Return images/s of steps of ``images``; None before enough steps were counted."""
        if len(self.seconds) < _WARM_UP + _STEPS:
            return None
        return images / statistics.median(self.seconds[_WARM_UP:])


def loader_rate(batches: Iterator[tuple[Tensor, Tensor]], images: int) -> float | None:
    """Return images/s of a loader that nobody waits for; None where an epoch is too short to tell.

    Args:
        batches: Batches of one epoch; a few are read.
        images: Images of a batch, over all workers.
    """
    if next(batches, None) is None:  # decoding workers start with the first
        return None
    started, count = time.perf_counter(), 0
    for _ in batches:
        count += 1
        if count == _BATCHES or time.perf_counter() - started > _SECONDS:
            break
    return count * images / (time.perf_counter() - started) if count else None


def compared(loader: float | None, step: float | None) -> str | None:
    """Return the sentence for people, or None as long as a rate is not known."""
    if loader is None or step is None:
        return None
    sentence = f"images: the loader gives {loader:,.0f}/s, training takes {step:,.0f}/s"
    if loader < step:
        sentence += "; the loader is the bottleneck: images on a faster disk, or more CPU cores, would help"
    return sentence
