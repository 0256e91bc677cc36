"""A Ray cluster of several ``ray start`` on this machine, whose nodes see other files than the driver does."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
_START_SECONDS = 180.0
_ATTEMPTS = 8  # Ray gives its agents 15 s to start, which a busy machine exceeds


def can_hide() -> bool:
    """Return whether this process may give others a file system of their own."""
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return tried.returncode == 0


@contextlib.contextmanager
def cluster_of_machines(nodes: int, hidden: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Yield the environment for commands on a cluster: a head without cores, and nodes of one core each.

    Its address is there as ``ADDRESS``; ``RAY_ADDRESS`` says that none is to be used.

    Args:
        nodes: How many beside the head.
        hidden: Folders that the nodes see empty and cannot write.
    """
    with tempfile.TemporaryDirectory(prefix="nasm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        token = folder / "token"
        token.write_text(secrets.token_hex(16), encoding="utf-8")
        settings = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))
        }
        environment = {**own, **settings, "RAY_raylet_start_wait_time_s": "60"}
        usual = f"{RAY} start --block --object-store-memory=100000000 --min-worker-port=0 --max-worker-port=0"
        mounts = "".join(f"mount -t tmpfs -o ro none '{path}' && " for path in hidden)
        with contextlib.ExitStack() as started:
            quiet = "--include-dashboard=false --no-monitor"
            head = f"{usual} --head --num-cpus=0 {quiet} --temp-dir={folder} --port={_free_port()}"
            _start("head", "", head, folder, environment, started)
            address = (folder / "ray_current_cluster").read_text(encoding="utf-8").strip()
            for number in range(nodes):  # in turns: two at once take the same names for their sockets
                joining = f"{usual} --address={address} --num-cpus=1"
                _start(f"node{number}", mounts, joining, folder, environment, started)
            yield {"RAY_ADDRESS": "local", "ADDRESS": address, **settings}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _start(
    name: str,
    mounts: str,
    command: str,
    folder: Path,
    environment: dict[str, str],
    started: contextlib.ExitStack,
) -> None:
    """Start a machine, in a folder of its own, and wait until its Ray runs."""
    said = ""
    for attempt in range(_ATTEMPTS):
        place, output = folder / f"{name}-{attempt}", folder / f"{name}-{attempt}.txt"
        place.mkdir()
        with open(output, "wb") as file:
            process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", f"{mounts} exec {command}"],
                cwd=place,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
            )
        started.callback(_end, process)
        end = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            said = output.read_text(encoding="utf-8", errors="replace")
            if "Ray runtime started" in said:
                return
            time.sleep(0.2)
        _end(process)
    raise AssertionError(f"{name} does not start: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a machine and all of its processes, which have a session of their own."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
