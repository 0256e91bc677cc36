"""What each rank of a team gets."""

from __future__ import annotations

from nas.cluster.budget import WorkerAllocation
from nas.pipeline.run import allocate_team


def test_cores_of_one_machine_are_dealt_out_among_ranks() -> None:
    eight = WorkerAllocation(8, 1.0, 0.0, "cpu")
    assert allocate_team(eight, 2, one_machine=True) == WorkerAllocation(2, 4.0, 0.0, "cpu")
    # A cluster's machines may have one core each.
    assert allocate_team(eight, 2, one_machine=False) == WorkerAllocation(2, 1.0, 0.0, "cpu")
    shared = WorkerAllocation(8, 0.5, 1.0, "cuda")
    assert allocate_team(shared, 8, one_machine=True) == shared
