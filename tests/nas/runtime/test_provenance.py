"""Provenance: complete, JSON, and honest where there is no checkout."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import torch

from nas.runtime import provenance as module
from nas.runtime.provenance import provenance


def test_names_everything_and_is_json() -> None:
    value = provenance(7, ["nas", "search"])
    assert json.loads(json.dumps(value)) == value
    assert value["seed"] == 7 and value["command"] == ["nas", "search"]
    assert value["packages"]["torch"] and value["packages"]["timm"]
    assert value["cpu_count"] >= 1
    assert len(value["devices"]) == torch.cuda.device_count()
    assert datetime.fromisoformat(value["time"]).utcoffset() is not None


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nas" / "runtime").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "nas" / "runtime" / "provenance.py"))
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_commit_and_dirty_follow_the_checkout(checkout: Path) -> None:
    assert (provenance(0, [])["commit"], provenance(0, [])["dirty"]) == (None, None)
    git(checkout, "init")
    git(checkout, "commit", "--allow-empty", "-m", "first")
    clean = provenance(0, [])
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (checkout / "studies" / "first").mkdir(parents=True)
    (checkout / "studies" / "first" / "study.yaml").write_text("")
    assert provenance(0, [])["dirty"] is False
    (checkout / "new.py").write_text("")
    assert provenance(0, [])["dirty"] is True


def test_a_foreign_repository_around_the_package_is_not_ours(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "init")
    git(checkout, "commit", "--allow-empty", "-m", "first")
    inner = checkout / "site-packages" / "nas" / "runtime"
    inner.mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(inner / "provenance.py"))
    assert provenance(0, [])["commit"] is None


def test_without_git_the_commit_is_null(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(0, [])["commit"] is None
