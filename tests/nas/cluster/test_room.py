"""How many workers nodes have room for, pauses between starts, and what is late."""

from __future__ import annotations

import pytest

from nas.cluster.backoff import Backoff
from nas.cluster.budget import WorkerAllocation
from nas.cluster.room import Shortage, fit, largest_fitting
from nas.cluster.stragglers import Durations
from nas.cluster.teams import team_sizes

CORES = WorkerAllocation(8, 3.0, 0.0, "cpu")
CARDS = WorkerAllocation(8, 0.333, 1.0, "cuda")


def test_a_worker_lies_on_one_node() -> None:
    assert fit([{"CPU": 8.0}, {"CPU": 2.0}, {"CPU": 3.0}, {}], CORES) == 3
    assert fit([{"CPU": 1.0, "GPU": 8.0}, {"CPU": 64.0}, {"CPU": 64.0, "GPU": 2.0}], CARDS) == 3 + 0 + 2
    assert fit([], CORES) == 0


def test_the_largest_team_that_fits() -> None:
    sizes = team_sizes(8, 6)
    assert sizes == [1, 2, 4]
    assert [largest_fitting(sizes, room) for room in (0, 1, 3, 4, 9)] == [None, 1, 2, 4, 4]


def test_a_lack_of_room_counts_once_it_was_there_at_every_look_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shortage, clock = Shortage(5.0), iter([0, 4.9, 6, 7, 11.9, 12, 20])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    looks = [shortage.lasts(lacks) for lacks in (True, True, False, True, True, True, True)]
    assert looks == [False, False, False, False, False, True, True]


def test_pauses_grow_up_to_a_limit_and_begin_anew() -> None:
    backoff = Backoff()
    assert [backoff.pause() for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert [backoff.pause(), backoff.pause()] == [0, 1]


def test_late_is_four_times_the_median_and_five_seconds_at_least() -> None:
    durations = Durations()
    for seconds in (2.0, 3.0, 90.0):
        durations.add(seconds)
    assert durations.late_after() is None  # too little is known
    durations.add(4.0)
    assert durations.late_after() == 4 * 3.5
    for _ in range(10):
        durations.add(0.1)
    assert durations.late_after() == 5.0
