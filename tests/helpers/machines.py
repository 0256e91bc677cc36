"""A Ray cluster of several ``ray start`` on this machine, whose nodes see other files than the driver does."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")


def can_hide() -> bool:
    """Return whether this process may give others a file system of their own."""
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return tried.returncode == 0


@contextlib.contextmanager
def cluster_of_machines(nodes: int, hidden: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Yield the environment for commands on a cluster: a head without cores, and nodes of one core each.

    Args:
        nodes: How many beside the head.
        hidden: Folders that the nodes see empty and cannot write.
    """
    with tempfile.TemporaryDirectory(prefix="nasm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        token = folder / "token"
        token.write_text(secrets.token_hex(16), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RAY_", "PYTHONPATH"))
            },
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "600",  # on a busy machine
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        usual = ["--block", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        head = [
            *usual,
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={folder}",
        ]
        started = [_start("head", [str(RAY), "start", *head], folder, environment)]
        try:
            address = _read_address(folder, started[0])
            mounts = " && ".join(f"mount -t tmpfs -o ro none '{path}'" for path in hidden)
            for number in range(nodes):
                joining = " ".join([str(RAY), "start", *usual, f"--address={address}", "--num-cpus=1"])
                command = ["unshare", "-m", "sh", "-c", f"{mounts} && exec {joining}"]
                started.append(_start(f"node{number}", command, folder, environment))
            yield {
                "RAY_ADDRESS": "local",  # so that the option is what decides
                "ADDRESS": address,
                **{name: environment[name] for name in environment if name.startswith("RAY_")},
            }
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)
                process.kill()


def _start(
    name: str, command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    place = folder / name  # every machine works in a folder of its own
    place.mkdir()
    with open(folder / f"{name}.txt", "wb") as output:
        return subprocess.Popen(
            command, cwd=place, stdout=output, stderr=output, env=environment, start_new_session=True
        )


def _read_address(folder: Path, head: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 600
    while not (file := folder / "ray_current_cluster").exists() or not file.read_text(encoding="utf-8"):
        assert time.monotonic() < end and head.poll() is None, (folder / "head.txt").read_text()
        time.sleep(0.2)
    return file.read_text(encoding="utf-8").strip()
