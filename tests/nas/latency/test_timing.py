"""Times do not depend on how fast the machine is when a module's turn comes."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
import torch
from torch import Tensor, nn

from nas.latency import timing
from nas.latency.timing import Yardstick, time_modules
from nas.runtime import stopwatch


class Machine:
    """A clock on a machine that is up to four times as slow from one timing to the next."""

    def __init__(self) -> None:
        self.now, self.slowness, self.rng = 0.0, 1.0, Random(0)

    def turn(self, done: int, total: int) -> None:
        self.slowness = self.rng.choice((1.0, 2.0, 4.0))

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.slowness


class Takes(nn.Module):
    """A module that takes some seconds of a machine at its best."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        super().__init__()
        self.machine, self.seconds = machine, seconds

    def forward(self, x: Tensor) -> Tensor:
        self.machine.spend(self.seconds)
        return x


def test_a_machine_of_changing_speed_is_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()

    def yard(_: object) -> float:
        began = machine.now
        machine.spend(0.001)
        return machine.now - began

    monkeypatch.setattr(stopwatch.time, "thread_time", lambda: machine.now)
    monkeypatch.setattr(Yardstick, "measure", yard)
    sizes = {"a": 0.002, "b": 0.006, "c": 0.2, "d": 0.3}
    builders = {name: partial(lambda s: (Takes(machine, s), torch.zeros(1)), s) for name, s in sizes.items()}
    times = time_modules(builders, torch.device("cpu"), machine.turn)
    assert {name: seconds / times["a"] for name, seconds in times.items()} == pytest.approx(
        {name: seconds / sizes["a"] for name, seconds in sizes.items()}
    )
    assert min(abs(times["a"] / sizes["a"] - slowness) for slowness in (1, 2, 4)) < 1e-6


def test_long_modules_are_timed_less_often_but_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, calls = Machine(), dict.fromkeys(("short", "long"), 0)
    monkeypatch.setattr(stopwatch.time, "thread_time", lambda: machine.now)
    monkeypatch.setattr(Yardstick, "measure", lambda _: 0.001)

    class Counted(Takes):
        def __init__(self, name: str, seconds: float) -> None:
            super().__init__(machine, seconds)
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            calls[self.name] += 1
            return super().forward(x)

    builders = {
        name: partial(lambda n, s: (Counted(n, s), torch.zeros(1)), name, seconds)
        for name, seconds in (("short", 0.004), ("long", 1.0))
    }
    time_modules(builders, torch.device("cpu"), lambda done, total: None)
    # Two warm-ups and the timings, each after a run that is not timed.
    assert calls == {"short": 2 * (2 + timing._ROUNDS), "long": 2 * (2 + timing._MIN_ROUNDS)}
