"""Two or more sides of one comparison, timed in turn in one process, and what came of it.

A machine that is slower for a while slows all sides of a round alike, so the result is the median over the
rounds of the ratio within each round. Nothing here needs more than torch: the benches of operators, networks
and supernets also run where the rest of the project's libraries are not installed.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from nas.runtime import interrupt
from nas.runtime.device import autocast
from search_spaces.errors import WorkError

#: Runs on an input; what it returns does not matter to the clock.
Side = Callable[[Tensor], object]

_RUN_SECONDS = 0.02  # a timing lasts at least so long: short calls are repeated
_COPIES = 64  # most inputs that rotate


@dataclass(frozen=True)
class Setup:
    """What a bench is asked for; None leaves a choice to the bench.

    Args:
        device: Where.
        threads: Threads of torch on the CPU.
        rounds: Rounds of a comparison.
        image_size: Side of the images in pixels.
        batch_size: Images at once.
        trials: Most trials of a search.
        space: Name or file of a space.
        scale: Scale of the space.
        quick: Whether small sizes will do, to see that it runs.
    """

    device: torch.device
    threads: int
    rounds: int | None = None
    image_size: int | None = None
    batch_size: int | None = None
    trials: int | None = None
    space: str = "twins_cswin"
    scale: str | None = None
    quick: bool = False

    def pick(self, given: int | None, cpu: int, cuda: int, quick: int) -> int:
        """Return what the user gave, or the size that suits the device and the hurry."""
        if given is not None:
            return given
        return quick if self.quick else cuda if self.device.type == "cuda" else cpu

    def count(self, rounds: int) -> int:
        """Return the rounds to run where ``rounds`` are usual."""
        return self.pick(self.rounds, rounds, rounds, 2)

    @property
    def clock(self) -> str:
        """What measures time: ``cuda events``, ``core`` or ``wall``.

        One thread is timed on its core: the same on an idle machine, and not lengthened by whatever else
        runs on a busy one. Several threads are timed on the wall.
        """
        return "cuda events" if self.device.type == "cuda" else "core" if self.threads == 1 else "wall"


@dataclass(frozen=True)
class Target:
    """What a ratio should reach.

    Args:
        limit: The value.
        at_most: Whether it should stay below rather than above.
    """

    limit: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Return whether ``value`` reaches the target."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


#: Of peak memory: never above theirs.
NO_MORE_MEMORY = Target(1.0, at_most=True)


@dataclass(frozen=True)
class Measurement:
    """One line of a bench.

    Args:
        name: What was measured.
        ours: Median of our side.
        unit: Of both sides: ``images/s``, ``ms``, ...
        theirs: Median of the other side, if there is one.
        against: What the other side is.
        ratio: Median over the rounds of ours to theirs; of throughputs for ``images/s``, else as the units say.
        quartiles: Quarter of the rounds below the first, above the second.
        rounds: Rounds.
        target: What the ratio should reach, or our value where there is no ratio.
        memory_target: What the ratio of peak memories should reach.
        details: Work compared, memory, differences of outputs.
    """

    name: str
    ours: float
    unit: str
    theirs: float | None = None
    against: str = ""
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    rounds: int = 1
    target: Target | None = None
    memory_target: Target | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.target.met(self.ours if self.ratio is None else self.ratio)

    @property
    def memory(self) -> float | None:
        """Our peak memory by theirs, to the percent: allocations of some bytes are no difference."""
        peak = self.details.get("peak_bytes")
        return None if not peak else round(peak["ours"] / max(1, peak["theirs"]), 2)

    @property
    def memory_met(self) -> bool | None:
        """Whether the target of memory is met; None without one."""
        if self.memory_target is None or self.memory is None:
            return None
        return self.memory_target.met(self.memory)

    def to_json(self) -> dict[str, Any]:
        """Return a plain object."""
        aims = {"target": self.target, "memory_target": self.memory_target}
        spelled = {name: None if aim is None else str(aim) for name, aim in aims.items()}
        found = {"met": self.met, "memory": self.memory, "memory_met": self.memory_met}
        return {**asdict(self), **spelled, **found}


def compared(
    name: str, ours: Sequence[float], theirs: Sequence[float], images: int | None = None, **rest: Any
) -> Measurement:
    """Return the row of two sides that took turns.

    Args:
        name: What was measured.
        ours: Seconds of one call of ours, round by round.
        theirs: Those of the other side.
        images: Images of a call, which makes it a row of images/s; of milliseconds where left out.
        rest: The row's other fields.
    """
    factor = 1.0 if images is None else -1.0  # a throughput is the inverse of a time
    ratios = [(one / other) ** factor for one, other in zip(ours, theirs, strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3

    def shown(seconds: Sequence[float]) -> float:
        return 1e3 * median(seconds) if images is None else images / median(seconds)

    return Measurement(
        name=name,
        ours=shown(ours),
        theirs=shown(theirs),
        unit="ms" if images is None else "images/s",
        ratio=median(ratios),
        quartiles=(low, high),
        rounds=len(ratios),
        **rest,
    )


def now(setup: Setup) -> float:
    """Return what the clock shows in seconds, on a GPU after all that it was given is done."""
    if setup.device.type == "cuda":
        torch.cuda.synchronize()
    return time.thread_time() if setup.clock == "core" else time.perf_counter()


def in_turn(sides: Sequence[Side], inputs: Sequence[Tensor], setup: Setup, rounds: int) -> list[list[float]]:
    """Return the seconds of one call of every side, round by round.

    Args:
        sides: What to time; each is warmed up first.
        inputs: Taken one after the other by every side.
        setup: The device and its clock.
        rounds: How often each side is timed; every second round runs backwards.

    Raises:
        Interrupted: If the user asked to stop.
    """
    clocks = [_Clock(side, inputs, setup) for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides))
        for place in order if number % 2 == 0 else reversed(order):
            interrupt.check()
            times[place].append(clocks[place].once())
    return times


class _Clock:
    def __init__(self, side: Side, inputs: Sequence[Tensor], setup: Setup) -> None:
        self.side, self.inputs, self.setup = side, inputs, setup
        self.called, self.runs = 0, 1
        self.once()  # allocates, chooses kernels
        self.runs = max(1, math.ceil(_RUN_SECONDS / max(self.once(), 1e-9)))

    def once(self) -> float:
        if self.setup.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            self._run()
            end.record()
            end.synchronize()
            return 1e-3 * start.elapsed_time(end) / self.runs
        began = now(self.setup)
        self._run()
        return (now(self.setup) - began) / self.runs

    def _run(self) -> None:
        for _ in range(self.runs):
            self.side(self.inputs[self.called % len(self.inputs)])
            self.called += 1


def inferred(forward: Callable[[Tensor], Tensor]) -> Side:
    """Return a side that runs ``forward`` as in inference, in the device's precision."""

    def side(x: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(x.device):
            return forward(x)

    return side


def rotating(shape: Sequence[int], setup: Setup) -> list[Tensor]:
    """Return random inputs: one on a CPU, on a GPU so many that they outgrow its L2 cache twice."""
    copies = 1
    if setup.device.type == "cuda":
        cache = torch.cuda.get_device_properties(setup.device).L2_cache_size
        copies = min(_COPIES, 1 + 2 * cache // (4 * math.prod(shape)))
    made = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=made).to(setup.device) for _ in range(copies)]


def peak_bytes(side: Side, inputs: Tensor, setup: Setup) -> int:
    """Return the most memory that one call of ``side`` holds at once beyond what was held before."""
    side(inputs)
    if setup.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        side(inputs)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    held = most = 0
    # torch's own allocations and frees, in order; scratch space inside oneDNN is not among them.
    events = (event for event in _profiled(side, inputs) if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def copies(side: Side, inputs: Tensor) -> int:
    """Return how many times one call of ``side`` copies or concatenates tensors, small ones too."""
    return sum(event.name() in ("aten::copy_", "aten::cat") for event in _profiled(side, inputs))


def _profiled(side: Side, inputs: Tensor) -> list[Any]:
    """Return the profiler's events of one call on the CPU."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _silent(), torch.profiler.profile(activities=cpu, profile_memory=True) as seen:
        side(inputs)
    return list(seen.profiler.kineto_results.events())


def by_side(found: Iterable[int]) -> dict[str, int]:
    """Return what was found of our side and of theirs, by name."""
    return dict(zip(("ours", "theirs"), found, strict=True))


def peaks(sides: Sequence[Side], inputs: Tensor, setup: Setup) -> dict[str, int]:
    """Return ``peak_bytes`` of our side and of theirs, by name."""
    return by_side(peak_bytes(side, inputs, setup) for side in sides)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep stderr to people: the profiler's library tells it about every start and stop."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def agreed(ours: Tensor, theirs: Tensor, what: str, tolerance: float = 1e-4) -> float:
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
def exact() -> Iterator[None]:
    """Compute in full float32 on a GPU too, for comparing outputs."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def pooled(rows: Sequence[Measurement], name: str, **changes: Any) -> Measurement:
    """Return one row for several of the same kind: the medians over all of them."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return replace(
        rows[0],
        name=name,
        ours=median(row.ours for row in rows),
        theirs=median(row.theirs or 0.0 for row in rows),
        ratio=median(ratios),
        quartiles=(low, high),
        **changes,
    )
