"""A search on machines that have neither the study nor the images nor this program's files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nas
from nas.study.folder import Study
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.machines import can_hide, cluster_of_machines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_hide(), reason="needs the right to mount"),
]
ROOT = Path(nas.__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver's folder."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "tiny.yaml").write_text(TINY_SPACE, encoding="utf-8")
    paint_folder(folder / "images")
    return folder


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[dict[str, str]]:
    """Two machines that see the driver's folder and the program's files empty, and can write neither."""
    installed = Path(sys.prefix).parent
    hidden = {folder / name for folder in (ROOT, installed) for name in ("nas", "search_spaces", "supernet")}
    with cluster_of_machines(2, [place, *(folder for folder in sorted(hidden) if folder.is_dir())]) as found:
        yield found


def run(place: Path, cluster: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nas", *arguments],
        cwd=place,
        env={**os.environ, **cluster, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_the_doctor_shows_the_machines(place: Path, cluster: dict[str, str]) -> None:
    done = run(place, cluster, "doctor", "--ray-address", cluster["ADDRESS"], "--json")
    found = json.loads(done.stdout)
    assert "3 nodes: 2 CPU cores" in found["ray_cluster"]
    assert len(found["nodes"]) == 3
    assert all(f"ray {found['packages']['ray']}" in node for node in found["nodes"].values())
    assert not any("nodes " in problem for problem in found["problems"])


def test_search_retrain_and_export(place: Path, cluster: dict[str, str]) -> None:
    """Two ranks on two machines train the supernet; the driver alone, which trains nothing, has the study's files."""
    done = run(
        *(place, cluster, "search", "--ray-address", cluster["ADDRESS"], "--space", "tiny.yaml"),
        *("--data", "folder:images", "--budget", "2cpu,6trials", "--study", "./study", "--epochs", "2"),
        *("--retrain", "1", "--export"),
    )
    assert done.returncode == 0, done.stderr
    study = Study(place / "study")
    assert study.supernet_file.exists()
    results = study.results()
    assert {result["mode"] for result in results} == {"scratch", "inherit"}
    for result in results:
        folder = study.retraining_folder(result["digest"], result["mode"])
        names = {path.name for path in folder.iterdir()}
        assert {"model.safetensors", "result.json", "logits.safetensors"} <= names
        assert not any("checkpoint" in name for name in names)  # removed there, removed here
    (export,) = (place / "study" / "exports").iterdir()
    assert (export / "model.onnx").exists()
    assert "the Ray cluster of 3 nodes" in study.log_file.read_text(encoding="utf-8")


def test_rank(place: Path, cluster: dict[str, str]) -> None:
    done = run(
        *(place, cluster, "rank", "./study", "--ray-address", cluster["ADDRESS"], "--designs", "4"),
        *("--repeated", "0", "--epochs", "1", "--budget", "2cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((place / "study" / "ranking.json").read_text(encoding="utf-8"))["designs"]) >= 4
