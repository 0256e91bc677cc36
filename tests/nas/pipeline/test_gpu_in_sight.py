"""Who touches a GPU: nobody under a budget of CPU cores, and never the process that plans and watches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import TINY_SPACE
from tests.helpers.patience import PATIENCE
from tests.nas.pipeline.test_main_job import paint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def run(folder: Path, where: str, *arguments: str) -> Any:
    """Search, retrain and export in ``folder`` with a GPU in sight; return the JSON that is printed."""
    paint(folder / "images")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    (folder / "marks").mkdir()
    paths = [str(ROOT / "tests/helpers/gpu_in_sight"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    command = [
        *(sys.executable, "-m", "nas", "search", "--space", "tiny.yaml", "--data", "folder:images", "--json"),
        *("--batch", "4", "--epochs", "1", "--batch-size", "12", "--study", "./study"),
        *("--retrain", "1", "--retrain-epochs", "1", "--export", *arguments),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "NAS_TEST_GPU": where,
            "NAS_TEST_MARKS": str(folder / "marks"),
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def command_lines(folder: Path, kind: str) -> list[str]:
    return [path.read_text() for path in (folder / "marks").glob(f"{kind}-*")]


def test_cores_are_all_that_a_budget_of_cores_uses(tmp_path: Path) -> None:
    assert run(tmp_path, "everywhere", "--budget", "2cpu,8trials")["front"]
    saw = command_lines(tmp_path, "saw")
    assert any("-m nas search" in line for line in saw)
    assert sum("default_worker.py" in line for line in saw) >= 2  # of Ray
    # The GPU's name is asked for in a process of its own.
    assert all("nas.runtime.own_process" in line for line in command_lines(tmp_path, "used"))


def test_the_driver_leaves_the_gpus_to_its_workers(tmp_path: Path) -> None:
    """They are told of one that Ray declares and no machine has, and compute on the CPU."""
    arguments = ("--budget", "1gpu,8trials", "--objective", "top1,latency_ms")
    assert run(tmp_path, "driver", *arguments)["front"]
    assert [line.partition(" -m ")[2][:10] for line in command_lines(tmp_path, "saw")] == ["nas search"]
    assert command_lines(tmp_path, "used") == []
    table = json.loads((tmp_path / "study/latency.json").read_text())
    assert table["device"].endswith(", 1 thread")  # of a CPU, as its worker found
    (provenance,) = [json.loads((tmp_path / "study/provenance.json").read_text())]
    assert provenance["devices"] == ["unknown GPU"]
