"""How the workers of a budget are divided into teams, whose ranks train one network together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nas.cluster.budget import WorkerAllocation


@dataclass(frozen=True)
class Teams:
    """Teams of equal size that work side by side, each on one job after another.

    Attributes:
        jobs: Number of jobs.
        count: Teams at once.
        size: Ranks of each.
        workers: Workers of the budget.
        allocation: What a team gets: its ranks, and what each of them has.
    """

    jobs: int
    count: int
    size: int
    workers: int
    allocation: WorkerAllocation

    def __str__(self) -> str:
        noun = "GPUs" if self.allocation.gpus_per_worker else "CPU cores"
        designs = f"{self.jobs} training{'s' if self.jobs > 1 else ''}"
        team = f"in {'teams' if self.jobs > 1 else 'a team'} of {self.size}" if self.size > 1 else "one each"
        waves = f", {self.count} at a time" if self.count < self.jobs else ""
        used = self.count * self.size
        if not self.allocation.gpus_per_worker:
            used = round(used * self.allocation.cpus_per_worker)
        return f"{designs} {team}{waves}: {used} of {self.workers} {noun} busy"


def plan_teams(jobs: int, shards: int, allocation: WorkerAllocation, *, one_machine: bool) -> Teams:
    """Divide workers into teams for equally long jobs, so that the last of them is done soonest.

    A team of t ranks takes 1/t of the time of one; t divides the shards. Of sizes that are done at the same time the
    smallest is taken, which exchanges the fewest gradients.

    Args:
        jobs: Networks to train, at least one.
        shards: Shards of their batches.
        allocation: The workers of the budget.
        one_machine: Whether all of them are on one machine.
    """
    sizes = team_sizes(shards, allocation.workers)

    def duration(size: int) -> float:
        return math.ceil(jobs / (allocation.workers // size)) / size

    best = min(sizes, key=lambda size: (round(duration(size), 9), size))
    count = min(jobs, allocation.workers // best)
    team = allocate_team(allocation, best, count, one_machine=one_machine)
    return Teams(jobs, count, best, allocation.workers, team)


def count_ranks(shards: int, workers: int) -> int:
    """Return the size of the one team of all workers: the most that can have equal numbers of shards."""
    return team_sizes(shards, workers)[-1]


def team_sizes(shards: int, workers: int) -> list[int]:
    """Return the sizes of teams of up to so many workers that can have equal numbers of shards, in order."""
    return [size for size in range(1, min(shards, workers) + 1) if shards % size == 0]


def allocate_team(
    allocation: WorkerAllocation, size: int, teams: int = 1, *, one_machine: bool
) -> WorkerAllocation:
    """Return what a team gets: all cores of one machine are divided among the ranks of all teams.

    On a cluster each keeps to a worker's cores, as no machine there need have more.

    Args:
        allocation: The workers of the budget.
        size: Ranks of a team.
        teams: Teams at once.
        one_machine: Whether all workers are on one machine.
    """
    cores = allocation.workers * allocation.cpus_per_worker // (size * teams) if one_machine else 0
    return replace(allocation, workers=size, cpus_per_worker=max(allocation.cpus_per_worker, cores))
