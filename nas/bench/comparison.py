"""Two or more sides of one comparison: equal work, timed in turn in one process.

A machine that is slower for a while slows all sides of a round alike, so what counts is the median over the
rounds of the ratio within each round. Nothing here needs more than torch: the benches of operators, networks
and supernets also run where the rest of the project's libraries are not installed.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nas.bench.setup import Setup
from nas.runtime import interrupt
from nas.runtime.device import autocast
from nas.runtime.stopwatch import RepeatedWork
from search_spaces.errors import WorkError

#: Runs on an input; what it returns does not matter to the clock.
Side = Callable[[Tensor], object]

_RUN_SECONDS = 0.02  # a timing lasts at least so long: short calls are repeated
_COPIES = 64  # most inputs to go through in turn


def time_in_turn(
    sides: Sequence[Side], inputs: Sequence[Tensor], setup: Setup, rounds: int
) -> list[list[float]]:
    """Return the seconds of one call of every side, round by round.

    Args:
        sides: What to time; each is warmed up first.
        inputs: Taken one after the other by every side.
        setup: The device and its clock.
        rounds: How often each side is timed; every second round runs backwards.

    Raises:
        Interrupted: If the user asked to stop.
    """
    stopwatch = setup.stopwatch
    runs = [
        RepeatedWork(stopwatch, _call_in_turn(side, inputs), _runs_that_fill, before=stopwatch.synchronize)
        for side in sides
    ]
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides))
        for index in order if number % 2 == 0 else reversed(order):
            interrupt.check()
            times[index].append(runs[index].measure())
    return times


def _call_in_turn(side: Side, inputs: Sequence[Tensor]) -> Callable[[], object]:
    """Return a function that calls ``side`` on the next of ``inputs``, from the first again after the last."""
    endless = itertools.cycle(inputs)
    return lambda: side(next(endless))


def _runs_that_fill(seconds: float) -> int:
    return max(1, math.ceil(_RUN_SECONDS / max(seconds, 1e-9)))


def inference_side(forward: Callable[[Tensor], Tensor]) -> Side:
    """Return a side that runs ``forward`` as in inference, in the device's precision."""

    def side(x: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(x.device):
            return forward(x)

    return side


def random_inputs(shape: Sequence[int], setup: Setup) -> list[Tensor]:
    """Return random inputs: one on a CPU, on a GPU so many that they outgrow its L2 cache twice."""
    copies = 1
    if setup.device.type == "cuda":
        cache = torch.cuda.get_device_properties(setup.device).L2_cache_size
        copies = min(_COPIES, 1 + 2 * cache // (4 * math.prod(shape)))
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).to(setup.device) for _ in range(copies)]


def check_agreement(ours: Tensor, theirs: Tensor, what: str, tolerance: float = 1e-4) -> float:
    """Return the largest difference of two outputs.

    Args:
        ours: One.
        theirs: The other, of the same shape.
        what: For the message.
        tolerance: Allowed difference, times the largest value where that exceeds 1.

    Raises:
        WorkError: If they differ by more: the two sides do not do the same work.
    """
    if ours.shape != theirs.shape:
        raise WorkError(f"{what}: shapes {tuple(ours.shape)} and {tuple(theirs.shape)} are not of equal work")
    ours, theirs = ours.detach().float(), theirs.detach().float()
    difference, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
    if not difference <= tolerance * max(1.0, largest):
        raise WorkError(f"{what}: the two sides differ by {difference:.2g}, so they do not do equal work")
    return difference


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute in full float32 on a GPU too, for comparing outputs."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
