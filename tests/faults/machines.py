"""A Ray cluster of simulated machines, which tests take away and add while work goes on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cluster import ray_cluster

_STORE = {"object_store_memory": 80 * 2**20}


class Machines:
    """Machines of some CPU cores each; the first has the cluster's control service and none, and is the driver's.

    Args:
        cluster: Ray's own simulation.
        cores: Cores of each further machine.
    """

    def __init__(self, cluster: Any, cores: int) -> None:
        self.cluster, self.cores = cluster, cores
        self.others: list[Any] = []

    @property
    def address(self) -> str:
        """The address of the cluster."""
        return str(self.cluster.address)

    def add(self) -> None:
        """Add a machine and wait until it is there."""
        self.others.append(_insist(lambda: self.cluster.add_node(num_cpus=self.cores, **_STORE)))

    def lose(self, index: int = 0) -> None:
        """Lose a machine as a power cut would."""
        self.cluster.remove_node(self.others.pop(index), allow_graceful=False)


@contextlib.contextmanager
def running(count: int, cores: int = 1) -> Iterator[Machines]:
    """Run a cluster of so many machines beside the driver's; this process connects to it when it first needs it."""
    from ray.cluster_utils import Cluster

    ray_cluster.stop()
    with pytest.MonkeyPatch.context() as patch:
        root = str(Path(__file__).parents[2])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        patch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)  # of a private cluster of an earlier test
        patch.setenv(
            "RAY_AUTH_MODE", "disabled"
        )  # a command would ask for the user's token, which this cluster lacks
        head = {"num_cpus": 0, "include_dashboard": False, **_STORE}
        cluster = _insist(lambda: Cluster(initialize_head=True, head_node_args=head))
        try:
            machines = Machines(cluster, cores)
            for _ in range(count):
                machines.add()
            cluster.wait_for_nodes()
            patch.setenv("RAY_ADDRESS", machines.address)
            yield machines
        finally:
            ray_cluster.stop()
            cluster.shutdown()


def _insist(start: Callable[[], Any]) -> Any:
    """Start a machine; Ray gives it 30 s, which a busy computer may exceed."""
    for _ in range(3):
        with contextlib.suppress(Exception):
            return start()
    return start()
