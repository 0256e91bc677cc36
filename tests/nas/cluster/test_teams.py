"""Which teams the workers of a budget form: none is idle as far as the shards can be divided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.teams import allocate_team, count_ranks, plan_teams

GPUS = WorkerAllocation(8, 2.0, 1.0, "cuda")
CORES = WorkerAllocation(8, 1.0, 0.0, "cpu")


@pytest.mark.parametrize(
    ("jobs", "workers", "shards", "size", "count"),
    [
        (1, 8, 8, 8, 1),
        (2, 8, 8, 4, 2),
        (
            3,
            8,
            8,
            8,
            1,
        ),  # 3/8 of the time that one GPU takes for one; teams of two would take 1/2, and two would idle
        (3, 6, 6, 2, 3),
        (3, 6, 8, 2, 3),
        (4, 8, 8, 2, 4),
        (8, 8, 8, 1, 8),
        (9, 8, 8, 8, 1),
        (16, 8, 8, 1, 8),
        (3, 8, 1, 1, 3),  # one shard: nobody to share it with
        (3, 8, 2, 2, 3),
        (1, 7, 8, 4, 1),
        (2, 2, 2, 1, 2),
        (1, 2, 2, 2, 1),
        (3, 2, 2, 2, 1),
    ],
)
def test_sizes(jobs: int, workers: int, shards: int, size: int, count: int) -> None:
    teams = plan_teams(jobs, shards, replace(GPUS, workers=workers), one_machine=True)
    assert (teams.size, teams.count) == (size, count)
    assert teams.allocation.workers == size and teams.allocation.gpus_per_worker == 1


@pytest.mark.parametrize(
    ("jobs", "allocation", "said"),
    [
        (3, GPUS, "3 trainings in teams of 8, 1 at a time: 8 of 8 GPUs busy"),
        (4, GPUS, "4 trainings in teams of 2: 8 of 8 GPUs busy"),
        (1, GPUS, "1 training in a team of 8: 8 of 8 GPUs busy"),
        (12, GPUS, "12 trainings in teams of 2, 4 at a time: 8 of 8 GPUs busy"),
        (8, CORES, "8 trainings one each: 8 of 8 CPU cores busy"),
    ],
)
def test_what_is_said(jobs: int, allocation: WorkerAllocation, said: str) -> None:
    assert str(plan_teams(jobs, 8, allocation, one_machine=True)) == said


def test_the_supernet_is_trained_by_as_many_as_divide_its_shards() -> None:
    assert [count_ranks(8, workers) for workers in (1, 3, 4, 7, 8, 100)] == [1, 2, 4, 4, 8, 8]
    assert [count_ranks(6, workers) for workers in (1, 3, 4, 8)] == [1, 3, 3, 6]


def test_cores_of_one_machine_are_dealt_out_among_ranks() -> None:
    assert allocate_team(CORES, 2, one_machine=True) == WorkerAllocation(2, 4.0, 0.0, "cpu")
    assert allocate_team(CORES, 2, teams=2, one_machine=True) == WorkerAllocation(2, 2.0, 0.0, "cpu")
    assert allocate_team(CORES, 2, teams=3, one_machine=True) == WorkerAllocation(2, 1.0, 0.0, "cpu")
    # A cluster's machines may have one core each.
    assert allocate_team(CORES, 2, one_machine=False) == WorkerAllocation(2, 1.0, 0.0, "cpu")
    shared = WorkerAllocation(8, 0.5, 1.0, "cuda")
    assert allocate_team(shared, 8, one_machine=True) == shared
