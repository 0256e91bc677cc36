"""How fast images are loaded against how fast a training uses them: reported once when it starts."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from nas.runtime.stopwatch import Span

_WARM_UP_STEPS, _TIMED_STEPS = 3, 20
_LOADER_BATCHES, _LOADER_SECONDS = 20, 3.0


class StepTimer:
    """Times the first steps of a training, the very first left out.

    Args:
        device: Where it computes; a GPU is never waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._steps: list[Span] = []

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Time what is done inside as one step."""
        if len(self._steps) == _WARM_UP_STEPS + _TIMED_STEPS:
            yield
            return
        span = Span(self.device)
        yield
        span.end()
        self._steps.append(span)

    def images_per_second(self, batch_size: int) -> float | None:
        """Return the rate of steps of ``batch_size`` images; None before enough steps were timed and computed."""
        if len(self._steps) < _WARM_UP_STEPS + _TIMED_STEPS:
            return None
        seconds = [span.seconds() for span in self._steps[_WARM_UP_STEPS:]]
        done = [each for each in seconds if each is not None]
        return None if len(done) < len(seconds) else batch_size / statistics.median(done)


def measure_loader(batches: Iterator[tuple[Tensor, Tensor]], batch_size: int) -> float | None:
    """Return the images/s of a loader whose images nothing uses; None where an epoch is too short to measure.

    Args:
        batches: Batches of one epoch; a few are read.
        batch_size: Images of a batch, over all workers.
    """
    if next(batches, None) is None:  # decoding workers start with the first
        return None
    started, count = time.perf_counter(), 0
    for _ in batches:
        count += 1
        if count == _LOADER_BATCHES or time.perf_counter() - started > _LOADER_SECONDS:
            break
    return count * batch_size / (time.perf_counter() - started) if count else None


def format_image_rates(loader: float | None, training: float | None) -> str | None:
    """Return a sentence that compares two rates in images/s, or None as long as one of them is not known."""
    if loader is None or training is None:
        return None
    sentence = f"images: the loader gives {loader:,.0f}/s, training takes {training:,.0f}/s"
    if loader < training:
        sentence += "; the loader is the bottleneck: images on a faster disk, or more CPU cores, would help"
    return sentence
