"""What keeps Ray from starting is called by its name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.cluster.start_failure import explain, explain_refusal, read_log_ends

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.40.0
    Python: 3.10.1
This process on node 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.11.9
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x",
            "RAY_TMPDIR=/tmp",
        ),
        ("x\nOSError: [Errno 28] No space left on device: '/x'", "is full (OSError: .*free some space"),
        ("[Errno 24] Too many open files", "ulimit -n"),
        ("RuntimeError: can't start new thread", "ulimit -u"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "--shm-size"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "RAY_TMPDIR to a folder that can be written"),
        (MISMATCH, "runs Ray 2.40.0 with Python 3.10.1 and this process Ray 2.60.0 with Python 3.11.9"),
    ],
)
def test_causes(said: str, cause: str, tmp_path: Path) -> None:
    import re

    pattern = ".*".join(map(re.escape, cause.split(".*")))
    assert re.search(pattern, explain(Exception(said)))
    wrapped = RuntimeError("The current node timed out during startup")
    wrapped.__cause__ = Exception(said)
    assert re.search(pattern, explain(wrapped))
    if "Version" not in said:  # what Ray's processes wrote counts where the exception says nothing
        logs = tmp_path / "session_2026-01-01_1" / "logs"
        logs.mkdir(parents=True)
        (logs / "raylet.err").write_text(said)
        assert re.search(pattern, explain(Exception("timed out"), tmp_path))
        assert said in read_log_ends(tmp_path)


def test_without_a_cause_the_state_of_the_machine_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (500.0, 0.0, 0.0))
    assert "500 processes want this machine's" in explain(Exception("timed out"), tmp_path)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert (
        explain(Exception("timed out"), tmp_path)
        == "timed out; the ends of Ray's logs are in the study's log"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1))
    assert explain(Exception("timed out"), tmp_path) == f"timed out; free some disk at {tmp_path}"


def test_refusals_of_a_cluster() -> None:
    assert "install the same versions on both" in explain_refusal("h:1", RuntimeError(MISMATCH))
    assert "RAY_AUTH_MODE=token" in explain_refusal(
        "h:1", RuntimeError("RPC error: InvalidAuthToken: missing")
    )
    assert "(nothing listens there); start it" in explain_refusal("h:1", OSError("nothing listens there"))
