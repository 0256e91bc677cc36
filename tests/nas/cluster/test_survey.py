"""A program that searches twice: the cluster that its first search started is this machine still."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nas.cluster import ray_cluster
from nas.cluster.ray_cluster import Cluster


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        (True, Cluster(3, 1, "this machine", running=False)),
        (False, Cluster(3, 1, "the Ray cluster of 2 nodes", running=True)),
    ],
)
def test_a_cluster_of_ones_own_is_this_machine(
    started: bool, expected: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 3, "GPU": 1}, nodes=lambda: [{"Alive": True}, {"Alive": True}]
    )
    monkeypatch.setattr(ray_cluster, "_own", expected if started else None)
    monkeypatch.setattr(ray_cluster, "is_connected", lambda: True)
    monkeypatch.setattr(ray_cluster, "load_ray", lambda: ray)
    assert ray_cluster.survey() == expected
