"""Waiting for workers: said with numbers, less and less often, and ended with the reason."""

from __future__ import annotations

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.waiting import Wait, wait_limit
from nas.runtime.console import log
from search_spaces.errors import BudgetError, WorkError

EIGHT = WorkerAllocation(8, 2.0, 1.0, "cuda")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(log, "say", said.append)
    monkeypatch.delenv("NAS_WAIT_SECONDS", raising=False)
    return said


def make(clock: Clock, gpus: float = 2.0, cpus: float = 8.0, allocation: WorkerAllocation = EIGHT) -> Wait:
    return Wait(allocation, clock, lambda: ({"GPU": 8.0, "CPU": 16.0}, {"GPU": gpus, "CPU": cpus}))


@pytest.mark.parametrize(
    ("private", "before", "now", "reason"),
    [
        (False, 8, 0, "they are starting"),  # all that is in use was reserved by ours
        (False, 6, 0, "the cluster has 8 GPUs, 8 are in use"),  # others had 2, so that 2 of ours find none
        (False, 6, 3, "they are starting"),
        (True, 0, 0, "they are starting"),  # nobody else is there; ours before them are still ending
    ],
)
def test_what_our_own_workers_reserve_is_not_others(
    private: bool, before: float, now: float, reason: str, lines: list[str]
) -> None:
    clock, free = Clock(), {"GPU": before, "CPU": 16.0}
    wait = Wait(EIGHT, clock, lambda: ({"GPU": 8.0, "CPU": 16.0}, free), private=private)
    free["GPU"] = now
    wait.check(0, 8)
    clock.now = 10
    wait.check(0, 8)
    assert lines == [f"waiting for 8 of 8 workers for 10s: {reason}"]


def test_lines_say_what_and_how_long_and_become_rare(lines: list[str]) -> None:
    clock = Clock()
    wait = make(clock, gpus=0)
    for second in range(2000):
        clock.now = second
        wait.check(6, 8)
    assert lines[0] == "waiting for 2 of 8 workers for 10s: the cluster has 8 GPUs, 8 are in use"
    assert [line.partition("workers for ")[2].partition(":")[0] for line in lines] == [
        "10s", "20s", "40s", "1m 20s", "2m 40s", "5m 20s", "10m 40s", "20m 40s", "30m 40s",
    ]  # fmt: skip


def test_the_reason_is_the_one_that_there_is(lines: list[str]) -> None:
    for gpus, cpus, reason in (
        (2, 8, "they are starting"),
        (0, 8, "the cluster has 8 GPUs, 8 are in use"),
        (1, 0, "the cluster has 8 GPUs, 7 are in use, and 0 of 16 CPU cores are free"),
    ):
        assert make(Clock(), gpus, cpus)._describe(8) == reason
    cores = WorkerAllocation(4, 1.0, 0.0, "cpu")
    assert make(Clock(), 0, 0.5, cores)._describe(4) == "the cluster has 16 CPU cores, 15.5 are in use"


def test_what_works_never_ends_and_what_cannot_does(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_WAIT_SECONDS", "100")
    clock = Clock()
    working, idle, team = (make(clock, gpus=0) for _ in range(3))
    for wait, ready, usable in ((working, 1, None), (idle, 0, None), (team, 7, False)):
        clock.now = 0
        wait.check(ready, 8, usable=usable)
        clock.now = 99
        wait.check(ready, 8, usable=usable)
    clock.now = 100
    working.check(1, 8)
    with pytest.raises(
        WorkError, match="no work could go on for 1m 40s: 8 of 8 workers are missing, the cluster"
    ):
        idle.check(0, 8)
    with pytest.raises(WorkError, match="1 of 8 workers are missing"):
        team.check(7, 8, usable=False)


def test_the_limit_counts_from_the_last_time_that_work_went_on(lines: list[str]) -> None:
    clock = Clock()
    wait = make(clock, gpus=0)
    for now, ready in ((0, 1), (3000, 1), (4000, 0), (7000, 0)):
        clock.now = now
        wait.check(ready, 8)
    clock.now = 7600
    with pytest.raises(WorkError, match="no work could go on for 1h 00m"):
        wait.check(0, 8)


def test_time_counts_from_the_last_time_that_all_were_there(lines: list[str]) -> None:
    clock = Clock()
    wait = make(clock)
    wait.check(0, 8)
    clock.now = 9
    wait.check(8, 8)
    clock.now = 5000
    wait.check(0, 8)
    assert lines == []


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_WAIT_SECONDS", text)
    with pytest.raises(BudgetError, match=f"NAS_WAIT_SECONDS={text} is no number of seconds"):
        wait_limit()
