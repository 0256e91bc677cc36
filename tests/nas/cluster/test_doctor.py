"""The doctor: quick, complete, and never ill itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.cluster import doctor, ray_cluster
from search_spaces.errors import BudgetError


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(
        ray_cluster, "survey", lambda address, **how: ray_cluster.Cluster(2, 0, "this machine", running=False)
    )


@pytest.mark.usefixtures("no_cluster")
def test_findings_are_plain_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    started = time.monotonic()
    findings = doctor.examine()
    assert time.monotonic() - started < 10
    assert json.loads(json.dumps(findings)) == findings
    assert findings["cpu_cores"] == len(os.sched_getaffinity(0))
    assert findings["ray_cluster"] == "none runs; a search starts its own on this machine"
    assert "sqlite" in findings["databases"]  # type: ignore[operator]
    assert "not made yet" in str(findings["cache"])
    packages = findings["packages"]
    assert isinstance(packages, dict) and "missing" not in (packages["torch"], packages["optuna"])
    assert all(doctor.format_finding(finding) for finding in findings.values())


def test_a_cluster_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = ray_cluster.Cluster(16, 8, "the Ray cluster of 2 nodes", running=True)
    monkeypatch.setattr(ray_cluster, "survey", lambda address, **how: cluster)
    assert doctor.examine()["ray_cluster"] == "the Ray cluster of 2 nodes: 16 CPU cores, 8 GPUs"


def test_what_the_survey_refuses_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str | None, **how: bool) -> ray_cluster.Cluster:
        raise BudgetError("the cluster does not answer; start it")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "survey", refuse)
    assert "the cluster does not answer; start it" in doctor.examine()["problems"]  # type: ignore[operator]


@pytest.mark.usefixtures("no_cluster")
def test_whatever_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("out of order")

    for name in ("doctor.metadata.version", "doctor.os.sched_getaffinity", "doctor.Path.read_text"):
        monkeypatch.setattr(f"nas.cluster.{name}", broken)
    monkeypatch.setattr("nas.runtime.resources.shutil.disk_usage", broken)
    monkeypatch.setattr("torch.cuda.is_available", broken)
    findings = doctor.examine()
    monkeypatch.undo()
    assert findings["packages"] == findings["disk"] == findings["cuda"] == findings["memory"] == "unknown"
    problems = findings["problems"]
    assert isinstance(problems, list)
    assert any("disk could not be examined (ZeroDivisionError: out of order)" in text for text in problems)


@pytest.mark.usefixtures("no_cluster")
def test_ray_told_to_listen_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_RAY_PROCESSES", ())
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    monkeypatch.setattr(doctor, "cluster_address", lambda named: "10.0.0.1:6379")
    findings = doctor.examine()  # machines of a cluster have to reach one another
    assert findings["ray_listens"] == "all interfaces, once started"
    assert not any("RAY_ENABLE" in text for text in findings["problems"])  # type: ignore[attr-defined]
    monkeypatch.setattr(doctor, "cluster_address", lambda named: None)
    findings = doctor.examine()
    assert any("unset it to keep Ray on 127.0.0.1" in text for text in findings["problems"])  # type: ignore[attr-defined]


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("host", "seen"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "all interfaces"), ("::1", "::1")]
)
def test_where_a_process_listens_is_read_from_the_kernel(
    host: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = "AF_INET6" if ":" in host else "AF_INET"
    code = f"import socket; s = socket.socket(socket.{family}); s.bind(({host!r}, 0)); s.listen()"
    name = "import sys; open('/proc/self/comm', 'w').write('raylet-test')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{name}; {code}; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        monkeypatch.setattr(doctor, "_RAY_PROCESSES", ("raylet-test",))
        findings = doctor.examine()
    finally:
        process.communicate("")
    assert findings["ray_listens"] == seen
    warned = any("runs the code of whoever connects" in text for text in findings["problems"])  # type: ignore[attr-defined]
    assert warned == (seen == "all interfaces")


def test_findings_as_text() -> None:
    assert doctor.format_finding([]) == doctor.format_finding({}) == "none"
    assert doctor.format_finding(["a", "b"]) == "a\nb"
    assert doctor.format_finding({"torch": "2.11"}) == "torch 2.11"
    assert doctor.format_finding(2) == "2"
