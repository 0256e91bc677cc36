"""What one call of a side allocates and copies."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nas.bench.comparison import Side
from nas.bench.setup import Setup


def measure_peak_bytes(side: Side, inputs: Tensor, setup: Setup) -> int:
    """Return the most memory that one call of ``side`` holds at once beyond what was held before."""
    side(inputs)
    if setup.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        side(inputs)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    return measure_memory_peak(lambda: side(inputs))


def measure_memory_peak(work: Callable[[], object]) -> int:
    """Return the most memory of the CPU that some work holds at once beyond what was held before."""
    held = most = 0
    # torch's own allocations and frees, in order; scratch space inside oneDNN is not among them.
    events = (event for event in _profile(work) if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def count_copies(side: Side, inputs: Tensor) -> int:
    """Return how many times one call of ``side`` copies or concatenates tensors, small ones too."""
    return sum(event.name() in ("aten::copy_", "aten::cat") for event in _profile(lambda: side(inputs)))


def name_sides(values: Iterable[int]) -> dict[str, int]:
    """Return the values of our side and of theirs, by name."""
    return dict(zip(("ours", "theirs"), values, strict=True))


def measure_peaks(sides: Sequence[Side], inputs: Tensor, setup: Setup) -> dict[str, int]:
    """Return the peak bytes of our side and of theirs, by name."""
    return name_sides(measure_peak_bytes(side, inputs, setup) for side in sides)


def _profile(work: Callable[[], object]) -> list[Any]:
    """Return the profiler's events of some work on the CPU."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _silent_stderr(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        work()
    return list(profile.profiler.kineto_results.events())


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep stderr to people: the profiler's library writes a line there at every start and stop."""
    sys.stderr.flush()
    original, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(nowhere)
