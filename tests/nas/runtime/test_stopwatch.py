"""A stopwatch measures by the clock it is told, and repeated work as often as it asks for."""

from __future__ import annotations

import pytest
import torch

from nas.runtime import stopwatch
from nas.runtime.stopwatch import Clock, RepeatedWork, Stopwatch, choose_clock

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Machine:
    """Three clocks that work moves on by different steps, and a list of what is asked of the GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.core, self.wall, self.gpu = 0.0, 100.0, 1000.0
        self.asked: list[str] = []
        monkeypatch.setattr(stopwatch.time, "thread_time", lambda: self.core)
        monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.asked.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "Event", self.event)

    def event(self, enable_timing: bool) -> Event:
        assert enable_timing
        return Event(self)

    def work(self) -> None:
        self.asked.append("work")
        self.core, self.wall, self.gpu = self.core + 1.0, self.wall + 2.0, self.gpu + 4.0


class Event:
    """As torch's: a time that the GPU notes down, in milliseconds."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.time = machine, 0.0

    def record(self) -> None:
        self.machine.asked.append("record")
        self.time = self.machine.gpu

    def synchronize(self) -> None:
        self.machine.asked.append("wait")

    def elapsed_time(self, end: Event) -> float:
        assert self.machine.asked[-1] == "wait"
        return 1e3 * (end.time - self.time)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    ("device", "threads", "clock"),
    [(CPU, 1, "core"), (CPU, 2, "wall"), (CUDA, 1, "cuda events"), (CUDA, 4, "cuda events")],
)
def test_one_thread_is_timed_on_its_core(device: torch.device, threads: int, clock: Clock) -> None:
    assert choose_clock(device, threads) == clock


@pytest.mark.parametrize(
    ("device", "clock", "seconds", "asked"),
    [
        (CPU, "core", 1.0, ["work"]),
        (CPU, "wall", 2.0, ["work"]),
        (CUDA, "wall", 2.0, ["synchronize", "work", "synchronize"]),
        # Events lie in the GPU's own order of work: waiting before them is up to the one who measures.
        (CUDA, "cuda events", 4.0, ["record", "work", "record", "wait"]),
    ],
)
def test_every_clock_measures_its_own_time(
    machine: Machine, device: torch.device, clock: Clock, seconds: float, asked: list[str]
) -> None:
    assert Stopwatch(device, clock).measure(machine.work) == seconds
    assert machine.asked == asked


@pytest.mark.parametrize(("clock", "time"), [("core", 0.0), ("wall", 100.0), ("cuda events", 100.0)])
def test_now_waits_for_the_device(machine: Machine, clock: Clock, time: float) -> None:
    assert Stopwatch(CUDA, clock).now() == time
    assert machine.asked == ["synchronize"]


def test_repeated_work_is_measured_as_often_as_it_asks_for(machine: Machine) -> None:
    given: list[float] = []

    def repeats_for(seconds: float) -> int:
        given.append(seconds)
        return 3

    def before() -> None:
        machine.asked.append("before")

    work = RepeatedWork(Stopwatch(CPU, "core"), machine.work, repeats_for, before)
    assert machine.asked == 2 * ["before", "work"]
    assert given == [1.0] and work.spent == 0.0
    del machine.asked[:]
    assert work.measure() == 1.0  # of one call, though three were made
    assert machine.asked == ["before", "work", "work", "work"]
    work.measure()
    assert work.spent == 6.0
