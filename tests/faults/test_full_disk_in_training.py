"""A disk that fills up while weights are trained or written."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas.pipeline import run
from tests.faults.disks import SmallDisk, small_disk
from tests.faults.rows import fault
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder
from tests.helpers.patience import PATIENCE

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, 200) as mounted:
        yield mounted


@pytest.fixture
def search(nas: Nas, disk: SmallDisk, tmp_path: Path) -> Callable[..., Outcome]:
    """Run a small search whose study lies on the disk."""
    space_file, images = tmp_path / "tiny.yaml", paint_folder(tmp_path / "images")
    space_file.write_text(TINY_SPACE)

    def call(*further: object) -> Outcome:
        return nas(
            "search", "--space", space_file, "--data", f"folder:{images}", "--study", disk.root / "study",
            "--budget", "1cpu,4trials", "--batch", 2, "--epochs", 2, "--batch-size", 8, *further,
        )  # fmt: skip

    return call


def run_alone(*arguments: object) -> Outcome:
    """Run the command line in a process of its own: what libraries print there is seen as well."""
    command = [sys.executable, "-m", "nas", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return Outcome(done.returncode, done.stdout, done.stderr)


def fill_when(disk: SmallDisk, ready: Callable[[], bool]) -> threading.Thread:
    """Fill a disk as soon as something has happened."""

    def watch() -> None:
        end = time.monotonic() + 120
        while not ready() and time.monotonic() < end:
            time.sleep(0.01)
        disk.fill()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def no_leftovers(disk: SmallDisk) -> bool:
    return not list(disk.root.rglob(".*.tmp"))


@fault(
    "the disk is full",
    during="the supernet's training",
    outcome="exit 1, goes on from the last checkpoint",
    lost="steps since then",
    told="checkpoint.safetensors cannot be written",
)
def test_supernet(search: Callable[..., Outcome], disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    obtain = run.obtain_latencies

    def full_from_here(plan: object) -> object:
        found = obtain(plan)  # type: ignore[arg-type]
        disk.fill()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(run, "obtain_latencies", full_from_here)
        outcome = search()
    assert outcome.code == 1 and "No space left on device" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err and no_leftovers(disk)
    disk.empty()
    assert search().code == 0


@fault(
    "the disk is full",
    during="`nas retrain`",
    outcome="exit 1, goes on from the last checkpoint",
    lost="epochs since then",
    told="the file that cannot be written",
)
@fault(
    "the disk is full",
    during="`nas export`",
    outcome="exit 1, exports when there is room",
    lost="nothing",
    told="the file that cannot be written",
)
def test_retraining_and_export(
    search: Callable[..., Outcome], nas: Nas, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CHECKPOINT_SECONDS", "0.1")
    assert search().code == 0
    study = disk.root / "study"
    retrain = "retrain", study, "--candidates", 1, "--from-scratch", "--epochs", 60, "--json"
    thread = fill_when(disk, lambda: bool(list(study.glob("retrained/*/scratch/checkpoint.safetensors"))))
    outcome = run_alone(*retrain)
    thread.join()
    assert outcome.code == 1 and "No space left on device" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err and no_leftovers(disk)
    disk.empty()
    outcome = nas(*retrain)
    assert outcome.code == 0
    digest = json.loads(outcome.out)[0]["digest"]
    export = "export", study, "--arch", digest, "--out", disk.root / "export"
    disk.fill(left=20_000)
    outcome = nas(*export)
    assert outcome.code == 1 and "No space left on device" in outcome.err.splitlines()[-1]
    disk.empty()
    assert nas(*export).code == 0
