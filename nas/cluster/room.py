"""How many workers a cluster's nodes have room for, as nodes come and go."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import load_ray

_ROUNDING = 1e-6


class Shortage:
    """Tells a lack of room that lasts from one that is over in a moment, as when nodes come and go.

    Args:
        seconds: For how long it must have been there to count.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._since = seconds, math.inf

    def lasts(self, lacks: bool) -> bool:
        """Return whether there has been a lack at every look for that long; to be called at each look."""
        now = time.monotonic()
        self._since = min(self._since, now) if lacks else math.inf
        return now - self._since >= self.seconds


def count_room(allocation: WorkerAllocation, *, free: bool = False) -> int:
    """Return how many workers fit on the nodes that are there.

    Args:
        allocation: What each needs.
        free: Whether only what nobody uses counts, over the whole cluster.
    """
    ray = load_ray()
    if free:
        return fit([ray.available_resources()], allocation)
    return fit([node["Resources"] for node in ray.nodes() if node["Alive"]], allocation)


def fit(nodes: Iterable[Mapping[str, float]], allocation: WorkerAllocation) -> int:
    """Return how many workers fit into the resources of nodes."""
    needs = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    return sum(
        min(int((node.get(name, 0.0) + _ROUNDING) / need) for name, need in needs.items() if need)
        for node in nodes
    )


def largest_fitting(sizes: Sequence[int], room: int) -> int | None:
    """Return the largest size of a team that has room, or None where none has."""
    return max((size for size in sizes if size <= room), default=None)
