"""Whether Ray runs, found out before it ends this process: its raylet by a handle, its control service by its port."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cluster import lifeline, recovery
from nas.cluster.address import is_listening
from nas.cluster.lifeline import ClusterLost, Lifeline

_LISTEN = """
import socket, sys, time
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); print("ready", flush=True)
time.sleep(600)
"""


class Clock:
    """Time that a test sets, and an address that listens or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.listening = 0.0, True
        monkeypatch.setattr(lifeline.time, "monotonic", lambda: self.now)

    def check(self, watch: Lifeline, now: float, listening: bool) -> None:
        self.now, self.listening = now, listening
        watch.check()


def test_a_cluster_of_others_may_be_silent_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    watch = Lifeline("/nowhere", "head:6379", private=False, listening=lambda address: clock.listening)
    for now, listening in (
        (10.0, True),
        (20.0, False),
        (60.0, False),
        (61.5, True),
        (70.0, False),
        (114.0, False),
    ):
        clock.check(watch, now, listening)
    said = capsys.readouterr().err.splitlines()
    silent = "the Ray cluster's control service at head:6379 does not answer; waiting up to 45s"
    assert said == [silent, "the Ray cluster's control service at head:6379 answers again", silent]
    with pytest.raises(ClusterLost, match=r"\(GCS\) at head:6379 has ended; start the cluster's Ray again"):
        clock.check(watch, 115.5, False)


def test_one_of_ones_own_may_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    watch = Lifeline("/nowhere", "127.0.0.1:1", private=True, listening=lambda address: clock.listening)
    clock.check(watch, 10.0, False)
    clock.check(watch, 12.5, False)
    with pytest.raises(ClusterLost, match="has ended; run the same command again"):
        clock.check(watch, 13.5, False)
    assert capsys.readouterr().err == ""


def test_the_end_of_a_raylet_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "raylet"
    raylet = subprocess.Popen([sys.executable, "-c", _LISTEN, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert raylet.stdout is not None and raylet.stdout.readline() == "ready\n"
        watch = Lifeline(str(path), "127.0.0.1:1", private=True, listening=lambda address: True)
        watch.check()
        raylet.kill()
        raylet.wait()
        with pytest.raises(ClusterLost, match=r"its raylet\) has ended"):
            watch.check()
        watch.close()
    finally:
        raylet.kill()
        raylet.communicate()


def test_ports_that_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert is_listening(address)
    assert (
        not is_listening(address) and not is_listening("127.0.0.1") and not is_listening("127.0.0.1:99999999")
    )


def test_ray_is_started_again_until_it_has_ended_three_times_with_nothing_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(recovery, "restart", lambda lost: calls.append("restart"))
    monkeypatch.setattr(recovery, "stop", lambda: calls.append("stop"))
    restarts, lost = recovery.Recovery(), ClusterLost("gone")
    for _ in range(2):
        restarts.restart(lost)
    restarts.has_advanced()
    for _ in range(2):
        restarts.restart(lost)
    with pytest.raises(ClusterLost, match="gone"):
        restarts.restart(lost)
    assert calls == ["restart"] * 4 + ["stop"]
