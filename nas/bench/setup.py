"""What a bench is asked for: the device and the sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.latency.runtime_names import Runtime
from nas.runtime.stopwatch import Clock, Stopwatch, choose_clock


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
        runtime: What runs networks whose latency is measured.
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
    runtime: Runtime = "torch"
    quick: bool = False

    def pick(self, given: int | None, cpu: int, cuda: int, quick: int) -> int:
        """Return what the user gave, or the size for the device, or the quick one."""
        if given is not None:
            return given
        return quick if self.quick else cuda if self.device.type == "cuda" else cpu

    def pick_rounds(self, usual: int) -> int:
        """Return the rounds to run: what the user gave, else ``usual`` or the quick number."""
        return self.pick(self.rounds, usual, usual, 2)

    @property
    def clock(self) -> Clock:
        """What measures time, for this device and these threads."""
        return choose_clock(self.device, self.threads)

    @property
    def stopwatch(self) -> Stopwatch:
        """A stopwatch with that clock."""
        return Stopwatch(self.device, self.clock)
