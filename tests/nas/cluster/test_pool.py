"""Workers on real Ray: complete results whoever dies, nothing that listens to the outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import Pool
from nas.cluster.ray_cluster import Cluster
from nas.cluster.ray_session import session_folder
from search_spaces.errors import WorkError
from tests.helpers import workers as factories
from tests.helpers.sockets import descendants, is_loopback, listening

pytestmark = [
    pytest.mark.slow,
    # Ray leaves the log files of a cluster it stopped to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

TWO = WorkerAllocation(2, 1.0, 0.0, "cpu")


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    """Ray as a search starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        # Workers import the helpers of tests.
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
        )
        assert not ray_cluster.is_connected()
        ray_cluster.start(Cluster(2, 0, "this machine", running=False))
        yield
        ray_cluster.stop()
    assert not ray_cluster.is_connected()
    assert not session_folder().exists()


@pytest.fixture
def pool(started: None, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(TWO, factories.tool, str(tmp_path))
    yield pool
    pool.close()


def results(pool: Pool, method: str, items: list[object]) -> dict[int, object]:
    """Return the results by index; fail if an item came twice."""
    found: dict[int, object] = {}
    for done in pool.map(method, items):
        assert done.index not in found
        found[done.index] = done.value
    return found


def test_items_go_to_preferred_workers_and_idle_ones_help(pool: Pool) -> None:
    preferred_workers, seen = [0, 1] * 6, set[object]()
    while len(seen) < 2:  # both have started
        seen.update(done.value for done in pool.map("process", range(2), preferred_workers))
    found = {done.index: done.value for done in pool.map("process", range(12), preferred_workers)}
    again = {done.index: done.value for done in pool.map("process", range(12), preferred_workers)}
    assert len(set(found.values())) == 2
    for slot in range(2):  # the last item may be taken by the other worker, which has no more of its own
        own = [found[i] for i in range(12) if preferred_workers[i] == slot]
        assert max(map(own.count, own)) >= 5
        assert [again[i] == found[i] for i in range(12)].count(True) >= 10
    assert len({done.value for done in pool.map("process", range(6), [0] * 6)}) == 2


def test_map_is_complete(pool: Pool) -> None:
    assert results(pool, "square", list(range(50))) == {i: i * i for i in range(50)}
    assert results(pool, "square", []) == {}
    assert results(pool, "square", [7]) == {0: 49}  # the same workers, again


def test_workers_go_on_while_results_are_looked_at_and_what_came_meanwhile_comes_together(pool: Pool) -> None:
    results(pool, "process", list(range(4)))  # both have started
    groups = []
    for arrived in pool.map_together("slow", list(range(6))):
        groups.append(len(arrived))
        time.sleep(1.5)  # an item takes 0.3 s
    assert sum(groups) == 6 and groups.count(2) >= 2


def test_workers_that_are_served_meanwhile_do_all_that_waits_and_what_comes_after_it(pool: Pool) -> None:
    results(pool, "process", list(range(4)))  # both have started
    groups, further = [], [[6, 7], [8]]
    for arrived in pool.map_together(
        "slow", list(range(6)), more=lambda: (further.pop(0) if further else [], [])
    ):
        groups.append(sorted(done.index for done in arrived))
        until = time.monotonic() + 3.0  # an item takes 0.3 s
        while time.monotonic() < until:
            pool.serve()
            time.sleep(0.01)
    assert sorted(index for group in groups for index in group) == list(range(9))
    assert len(groups) == 2
    pool.serve()  # of nothing


def test_every_worker_takes_part(pool: Pool) -> None:
    assert len(set(results(pool, "process", list(range(8))).values())) == 2


def test_all_sockets_are_on_this_machine_alone(pool: Pool) -> None:
    results(pool, "square", [1, 2])
    everyone = descendants(os.getpid())
    names = [
        Path(f"/proc/{pid}/comm").read_text().strip() for pid in everyone if Path(f"/proc/{pid}").exists()
    ]
    assert "raylet" in names and "gcs_server" in names
    found = listening(everyone | {os.getpid()})
    assert found and all(map(is_loopback, found)), found


def test_the_session_is_closed_to_others(pool: Pool) -> None:
    results(pool, "square", [1])
    folder, token = session_folder(), session_folder().parent / "token"
    assert folder.parent.stat().st_mode & 0o777 == 0o700 and token.stat().st_mode & 0o777 == 0o600
    assert list(folder.glob("session_2*/sockets/plasma_store"))
    program = "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR')"
    address = ray_cluster.load_ray().get_runtime_context().gcs_address
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    intruder = subprocess.run(
        [sys.executable, "-c", program, address],
        env={**environment, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert intruder.returncode == 1 and "InvalidAuthToken" in intruder.stderr


def test_abandoned_map_leaves_the_pool_usable(pool: Pool) -> None:
    for _ in pool.map("slow", list(range(6))):
        break
    assert results(pool, "square", list(range(10))) == {i: i * i for i in range(10)}


def test_item_of_a_dead_worker_is_done_by_another(pool: Pool, tmp_path: Path) -> None:
    assert results(pool, "dies_once", list(range(7))) == {i: i for i in range(7)}
    assert {mark.name for mark in tmp_path.iterdir()} == {"0", "3", "6"}


def failures(pool: Pool, method: str, items: list[object]) -> dict[int, str | None]:
    """Return by index why items failed; None of one that did not."""
    return {done.index: done.failure for done in pool.map(method, items)}


def test_item_that_always_kills_is_given_up(pool: Pool, tmp_path: Path) -> None:
    found = failures(pool, "dies_always", list(range(4)))
    assert {index for index, reason in found.items() if reason} == {2} and len(found) == 4
    assert str(found[2]).startswith("it killed 2 workers: it was killed (process ")
    assert (tmp_path / "deaths").read_text() == "xx"


def test_items_that_fail_have_a_reason_and_the_others_a_result(pool: Pool) -> None:
    found = failures(pool, "fails", ["ours", "theirs", "fine"])
    assert found == {0: "the weights are foreign", 1: "in two lines", 2: None}
    assert "no_such_method" in str(failures(pool, "no_such_method", [1])[0])
    assert results(pool, "square", [7]) == {0: 49}  # workers took the place of those that failed


def test_workers_that_cannot_start_are_not_started_forever(started: None) -> None:
    pool = Pool(TWO, factories.broken, None)
    with pytest.raises(WorkError, match=r"die while they start: .*no tool today"):
        results(pool, "square", [1])
    pool.close()


def test_payload_arrays_are_mapped_not_copied(started: None) -> None:
    pool = Pool(TWO, factories.shared, {"array": np.arange(1_000_000.0)})
    assert results(pool, "look", [3, 999_999]) == {0: (3.0, False, "cpu"), 1: (999_999.0, False, "cpu")}
    pool.close()


def test_waiting_for_cores_that_others_use_ends(
    started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_WAIT_SECONDS", "3")
    monkeypatch.setattr("nas.cluster.waiting.is_private", lambda: False)  # others use this one
    ray = ray_cluster.load_ray()
    other = ray.remote(factories.Tool).options(num_cpus=2).remote(str(tmp_path), "cpu")
    assert ray.get(other.square.remote(2)) == 4
    waiting = Pool(TWO, factories.tool, str(tmp_path))
    try:
        with pytest.raises(
            WorkError, match="2 of 2 workers are missing, the cluster has 2 CPU cores, 2 are in use"
        ):
            list(waiting.map("square", [1]))
        waiting.close()
        monkeypatch.delenv("NAS_WAIT_SECONDS")
        waiting = Pool(TWO, factories.tool, str(tmp_path))
        threading.Timer(2.0, ray.kill, [other]).start()
        assert results(waiting, "square", [1, 2]) == {0: 1, 1: 4}  # work begins as soon as there is room
    finally:
        waiting.close()


def test_a_lost_node_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster as Machines

    ray_cluster.stop()
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    )
    quiet = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1, **quiet})
    try:
        others = [machines.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
        machines.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", machines.address)
        found = ray_cluster.survey()
        assert (found.cpus, found.gpus, found.running) == (3, 0, True)
        assert found.where == "the Ray cluster of 3 nodes"
        pool = Pool(WorkerAllocation(3, 1.0, 0.0, "cpu"), factories.tool, str(tmp_path))
        arrived: dict[int, object] = {}
        for done in pool.map("slow", list(range(30))):
            assert done.index not in arrived
            arrived[done.index] = done.value
            if len(arrived) == 6:
                machines.remove_node(others[0], allow_graceful=False)
        assert {index: value[0] for index, value in arrived.items()} == {i: i for i in range(30)}  # type: ignore[index]
        pool.close()
    finally:
        ray_cluster.stop()
        machines.shutdown()
