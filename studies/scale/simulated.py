"""Nodes and workers that do nothing but wait, behind the product's own pool, lease, store and search.

What is real: Ray with a raylet for every node, every call that the driver makes of Ray with its arguments and its
answer, the search, the lease and the database. What is simulated: GPUs, which are numbers that a node declares, and
workers. A worker is a seat in an asynchronous actor that holds all seats of its node, and evaluating a design is
sleeping for as long as evaluating one like it took; so a worker costs neither memory nor a core of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from nas.bench.search import looked_up
from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.crew import Crew, Worker, end
from nas.cluster.deaths import Whereabouts
from nas.cluster.pool import Pool
from nas.evaluation.population import Population
from search_spaces.architecture import Architecture

#: Validation images that an answer says the right ones of, as many as ``--validation-images`` has by default.
IMAGES = 2000
#: GPUs of a node, and most nodes: each is three processes here.
GPUS_PER_NODE, MOST_NODES = 8, 8
_STORE_BYTES = 80 * 2**20  # of a node's object store, the least that Ray takes


def seconds_of(digest: str, times: Sequence[float]) -> float:
    """Return how long a design takes to evaluate: one of ``times``, which its digest chooses."""
    return (
        times[int.from_bytes(hashlib.sha256(digest.encode()).digest()[4:8], "big") % len(times)]
        if times
        else 0.0
    )


def answer(design: Architecture, seconds: float) -> dict[str, Any]:
    """Return what a worker answers for a design, as large as the answer of a real one."""
    top1 = looked_up(design)
    bits = b"".join(
        hashlib.sha256(f"{design.digest} {part}".encode()).digest() for part in range(math.ceil(IMAGES / 256))
    )
    correct = int.from_bytes(bits, "big") >> (8 * len(bits) - IMAGES)
    return {"top1": top1, "top5": 95.0, "loss": 1.0, "seconds": seconds, "images": IMAGES, "correct": correct}


class Node:
    """The actor of a node: its seats, each of which evaluates one call after the other.

    Args:
        times: Seconds of evaluations; none for evaluations that take no time.
        seats: Workers of the node.
    """

    def __init__(self, times: Sequence[float], seats: int) -> None:
        self.times, self.seats = times, [asyncio.Lock() for _ in range(seats)]

    async def whereabouts(self) -> Whereabouts:
        """Answer as a worker does that has started."""
        return Whereabouts.of_this_worker()

    async def call(
        self, seat: int, method: str, group: list[tuple[dict[str, Any], float]]
    ) -> list[dict[str, Any]]:
        """Sleep for as long as the designs of a group take, and answer."""
        async with self.seats[seat]:
            designs = [Architecture.from_json(design) for design, _ in group]
            seconds = [seconds_of(design.digest, self.times) for design in designs]
            await asyncio.sleep(sum(seconds))
            return [answer(design, spent) for design, spent in zip(designs, seconds, strict=True)]


class _Method:
    """A method of a worker, which is called as that of an actor."""

    def __init__(self, method: Any, *given: int) -> None:
        self.method, self.given = method, given

    def remote(self, *arguments: Any) -> Any:
        return self.method.remote(*self.given, *arguments)


class Seat:
    """A worker's actor as a crew sees it.

    Args:
        node: The actor of its node.
        seat: Its number there.
    """

    def __init__(self, node: Any, seat: int) -> None:
        self.whereabouts, self.call = _Method(node.whereabouts), _Method(node.call, seat)


class SimulatedCrew(Crew):
    """The product's crew, whose workers are seats of nodes; the payload is the times of evaluations."""

    def begin(self) -> None:
        """Start the nodes, wait for them, and take their seats: what is measured begins with workers that wait."""
        ray, allocation = ray_cluster.load_ray(), self.allocation
        self._seats = math.ceil(allocation.workers / count_nodes(allocation.workers))
        actor = ray.remote(Node).options(
            num_cpus=0, num_gpus=self._seats * allocation.gpus_per_worker, max_concurrency=2 * self._seats
        )
        self._nodes = [
            actor.remote(list(self._payload), self._seats) for _ in range(count_nodes(allocation.workers))
        ]
        ray.get([node.whereabouts.remote() for node in self._nodes])
        super().begin()

    def _start(self, slot: int) -> None:
        node, seat = divmod(slot, self._seats)
        worker = Worker(slot, Seat(self._nodes[node], seat))
        self.starting[worker.actor.whereabouts.remote()] = worker

    def close(self, busy: list[Worker]) -> None:
        """End the nodes."""
        for node in self._nodes:
            end(node)


class SimulatedPopulation(Population):
    """The product's population, on a pool of simulated workers."""

    def __init__(self, allocation: WorkerAllocation, times: Sequence[float]) -> None:
        self.pool = Pool(allocation, Node, times, SimulatedCrew)


def count_nodes(workers: int) -> int:
    """Return how many nodes so many GPUs are on: eight GPUs each, and more where that would be too many nodes."""
    return min(MOST_NODES, math.ceil(workers / GPUS_PER_NODE))


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Connect to a Ray cluster of simulated nodes with so many GPUs in all."""
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # seats need no memory, others on the machine may
    ray = ray_cluster.load_ray()
    from ray.cluster_utils import Cluster

    nodes = count_nodes(workers)
    gpus = math.ceil(workers / nodes)
    quiet = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": gpus, **quiet})
    try:
        for _ in range(nodes - 1):
            machines.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=_STORE_BYTES)
        machines.wait_for_nodes()
        ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        machines.shutdown()  # type: ignore[no-untyped-call]
