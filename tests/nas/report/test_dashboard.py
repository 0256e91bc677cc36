"""The dashboard: served to this machine alone, and gone when asked to go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from nas.report.dashboard import serve_stored
from search_spaces.errors import RequestError, StudyError

ROOT = Path(__file__).parents[3]
# Python ignores Ctrl-C where its parent does, as shells make background jobs do; undo that.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from nas.report.dashboard import serve_stored
serve_stored(sys.argv[1], int(sys.argv[2]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listeners(port: int) -> set[str]:
    """Return the addresses that listen at a port, from the kernel's table."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="mine", directions=["maximize", "minimize"])
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(port)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    first = process.stderr.readline()  # printed when requests are answered, not before
    assert f"http://127.0.0.1:{port}/dashboard" in first
    yield process, port
    process.kill()
    process.wait()
    process.stderr.close()


def test_served_on_this_machine_alone_until_interrupted(
    served: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, port = served
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=20) as answer:
        studies = json.load(answer)["study_summaries"]
    assert [study["study_name"] for study in studies] == ["mine"]
    assert listeners(port) == {"0100007F"}  # 127.0.0.1, low byte first
    optuna.create_study(storage=f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(RequestError, match=f"port {port} is in use; choose another with --port"):
        serve_stored(f"sqlite:///{tmp_path / 'study.db'}", port)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert process.stderr is not None and process.stderr.read() == "dashboard ended\n"
    deadline = time.monotonic() + 5
    while listeners(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listeners(port)


def test_a_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyError, match=r"study\.db is not a database"):
        serve_stored(f"sqlite:///{tmp_path / 'study.db'}", free_port())
