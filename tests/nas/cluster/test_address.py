"""Which cluster is meant: the option before the variable, Ray's own words, and nothing that cannot work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.cluster import ray_cluster
from nas.cluster.address import cluster_address
from search_spaces.errors import BudgetError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """What a ``ray start`` leaves behind: something that listens, and a file that says where."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address, encoding="utf-8")
        yield address


def test_the_option_comes_before_the_variable(started: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_address() == cluster_address("auto") == started
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_address() == "10.0.0.1:6379"
    assert cluster_address("auto") == started
    assert cluster_address("10.0.0.2:6379") == "10.0.0.2:6379"
    assert cluster_address("local") is None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert cluster_address() == started


@pytest.mark.parametrize("named", [True, False])
def test_auto_where_nothing_was_started(named: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "local" if named else "auto")
    says = "--ray-address auto" if named else "RAY_ADDRESS=auto"
    with pytest.raises(BudgetError, match=f"^{says} finds no cluster that ray start has made"):
        cluster_address("auto" if named else None)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ray://head:10001", "is one for Ray's client"),
        ("http://head:8265", "is that of Ray's dashboard"),
        ("ftp://head", "is none that is known"),
    ],
)
def test_an_address_with_a_scheme_is_refused(address: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetError, match=f"{address} of a Ray cluster {why}.*; give HOST:6379"):
        cluster_address(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(BudgetError, match=why):
        cluster_address()


@pytest.mark.parametrize(("private", "works_on"), [(True, "this machine"), (False, "10.0.0.1:6379")])
def test_one_process_works_on_one_cluster(
    private: bool, works_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "is_connected", lambda: True)
    monkeypatch.setattr(ray_cluster, "is_private", lambda: private)
    monkeypatch.setattr(ray_cluster, "_address", "10.0.0.1:6379")
    with pytest.raises(BudgetError, match=f"works on {works_on} already.*--ray-address 10.0.0.2:6379"):
        ray_cluster.survey("10.0.0.2:6379")
