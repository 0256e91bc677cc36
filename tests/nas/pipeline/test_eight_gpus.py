"""``--budget 8gpu``: refused in one sentence where there are none, eight workers where a cluster has them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas.study.folder import Study
from tests.helpers.patience import PATIENCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="checks what a machine without GPUs does"),
]

HEAD = """
import signal, sys
import ray
for _ in range(5):
    try:  # Ray gives its processes 30 s to start, which a busy machine may exceed
        context = ray.init(address="local", num_cpus=8, num_gpus=8, include_dashboard=False, log_to_driver=False,
                           object_store_memory=150 * 2**20, _temp_dir=sys.argv[1])
        break
    except Exception:
        ray.shutdown()
print(context.address_info["gcs_address"], flush=True)
signal.sigwait([signal.SIGTERM])
ray.shutdown()
"""


def nas(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "nas", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """A Ray cluster of eight logical GPUs on 127.0.0.1; yields the environment of those who use it."""
    # Not tmp_path: the paths of Unix sockets may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="nas8-", ignore_cleanup_errors=True) as folder:
        token = Path(folder, "token")
        token.write_text(secrets.token_hex(16))
        environment = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        head = subprocess.Popen(
            [sys.executable, "-c", HEAD, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**own, **environment},
        )
        try:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            assert address.startswith("127.0.0.1:"), address
            # What a user has to say of it: where it is, and where its token lies.
            yield {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN_PATH": str(token)}
        finally:
            head.send_signal(signal.SIGTERM)
            try:
                head.wait(30)
            except subprocess.TimeoutExpired:
                head.kill()
                head.wait()
            if head.stdout is not None:
                head.stdout.close()
            time.sleep(0.5)


def test_without_a_cluster_it_says_what_to_type(tmp_path: Path) -> None:
    done = nas(tmp_path, {"RAY_ADDRESS": "local"}, "search", "--space", "twins_cswin", "--budget", "8gpu")
    cores = len(os.sched_getaffinity(0))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"nas: --budget 8gpu asks for 8 GPUs but this machine has 0 GPUs and {cores} CPU core{'s' * (cores > 1)}; "
        f"type --budget {cores}cpu or --budget auto, or start the command on a Ray cluster with 8 GPUs "
        "(docs/howto/cluster.md#one-machine-several-machines)\n"
    )
    assert not list(tmp_path.iterdir())


def test_plans_eight_workers(cluster: dict[str, str], tmp_path: Path) -> None:
    arguments = ("search", "--space", "twins_cswin", "--budget", "8gpu", "--dry-run", "--json")
    done = nas(tmp_path, cluster, *arguments)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["workers"] == 8 and plan["device"] == "cuda"
    assert "8 on the Ray cluster of 1 node, each 1 CPU core and 1 GPU" in done.stderr
    assert not list(tmp_path.iterdir())


def test_more_than_the_cluster_has(cluster: dict[str, str], tmp_path: Path) -> None:
    done = nas(tmp_path, cluster, "search", "--budget", "9gpu")
    assert done.returncode == 2
    assert "asks for 9 GPUs but the Ray cluster of 1 node has 8 GPUs and 8 CPU cores" in done.stderr
    assert "--budget 8gpu" in done.stderr and not list(tmp_path.iterdir())


def test_runs_on_eight_workers(cluster: dict[str, str], tmp_path: Path) -> None:
    ranks: set[int] = set()
    workers: set[int] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            folder = Path(cluster["RAY_AUTH_TOKEN_PATH"]).parent
            ranks.update(running(folder, b"ray::_Rank"))
            workers.update(running(folder, b"ray::_Actor"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = nas(
            tmp_path,
            cluster,
            *("search", "--space", "twins_cswin", "--budget", "8gpu,48trials", "--epochs", "1", "--json"),
            *("--study", "./eight", "--batch", "48", "--batch-size", "512", "--validation-images", "100"),
            *("--retrain", "1", "--retrain-epochs", "1", "--candidates", "1"),
        )
    finally:
        over.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["front"]
    assert sum(row.evaluated for row in Study(tmp_path / "eight").records()) == 48
    assert "2 trainings in teams of 4: 8 of 8 GPUs busy" in done.stderr
    # All eight train the supernet, all search, and all train the two networks; none of them finds a GPU.
    assert (len(ranks), len(workers)) == (8 + 8, 8)


def running(folder: Path, title: bytes) -> set[int]:
    """Return the actors of this title, of the cluster in ``folder``, that there are right now."""
    titles, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                titles[int(entry.name)] = (entry / "cmdline").read_bytes()
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    # Ray names an actor after what it runs; another search on this machine has actors of its own.
    ours = {pid for pid, name in titles.items() if str(folder).encode() in name and b"raylet" in name}
    return {pid for pid, name in titles.items() if name.startswith(title) and parents.get(pid) in ours}
