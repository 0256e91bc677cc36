"""Who works for a command that was taken over replaces no file any more, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nas.runtime import fence
from nas.runtime.fence import FENCE_FILE, FencedError, adopt, fences, put_up
from nas.runtime.files import load_tensors, write_text
from nas.runtime.lock import FolderLock
from nas.runtime.processes import ProcessId
from nas.training.checkpoint_writer import CheckpointWriter
from tests.faults.rows import fault


@pytest.fixture(autouse=True)
def no_fences() -> Iterator[None]:
    """What one test adopts is not of the next."""
    yield
    fence._standing.clear()


def take_over(folder: Path) -> None:
    """Take a folder's lock in another process, as another command does, and let go of it."""
    program = "import sys; from pathlib import Path; from nas.runtime.lock import FolderLock\n"
    program += "with FolderLock(Path(sys.argv[1])).hold(['other']): pass"
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


@fault(
    "a driver is killed, workers of it live on, and another driver takes the study",
    during="a training",
    outcome="the writes of those workers fail, and the last checkpoint stays",
    lost="steps since that checkpoint",
    told="in the worker: ... is not written: another command works in ... now",
)
def test_a_worker_writes_until_another_command_takes_over(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with FolderLock(folder).hold(["first"]):
        given = fences()
        write_text(folder / "a", "driver")
    assert fences() == ()
    adopt(given)  # as its workers do, which outlive it
    write_text(folder / "deep" / "a", "worker")
    writer = CheckpointWriter(folder / "supernet" / "checkpoint.safetensors")
    writer.start({"x": torch.ones(3)}, {"step": "1"})
    writer.wait()
    take_over(folder)
    with pytest.raises(FencedError, match=r"a is not written: another command works in .*study now"):
        write_text(folder / "deep" / "a", "late")
    assert (folder / "deep" / "a").read_text() == "worker"
    writer.start({"x": torch.zeros(3)}, {"step": "2"})
    with pytest.raises(FencedError):
        writer.wait()
    tensors, metadata = load_tensors(folder / "supernet" / "checkpoint.safetensors")
    assert metadata["step"] == "1" and tensors["x"].sum() == 3
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("*former*"))
    write_text(tmp_path / "beside", "anybody")


def test_a_new_command_waits_for_a_rename_that_has_begun(tmp_path: Path) -> None:
    with put_up(tmp_path):
        adopt(fences())
        with fence.passing(tmp_path / "a"):
            program = "import sys; from pathlib import Path; from nas.runtime.fence import put_up\n"
            program += "with put_up(Path(sys.argv[1])): print('up', flush=True)"
            other = subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
            )
            before = (tmp_path / FENCE_FILE).read_text()
            time.sleep(1.5)
            assert other.poll() is None and (tmp_path / FENCE_FILE).read_text() == before
        assert other.communicate(timeout=60)[0] == "up\n"
    assert (tmp_path / FENCE_FILE).read_text() != before


@fault(
    "the study's folder is moved or deleted",
    during="a training",
    outcome="its workers do not make it again",
    lost="what was not written yet",
    told="... is not written: its folder was moved or deleted",
)
def test_a_folder_that_was_moved_is_not_made_again_by_a_worker(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    with put_up(folder):
        folder.rename(tmp_path / "moved")
        with pytest.raises(FencedError, match="moved or deleted"):
            write_text(folder / "a", "late")
        assert not folder.exists()


@fault(
    "a driver is killed",
    during="any work of its workers on its machine",
    outcome="they end within a second or two, whatever they compute",
    lost="what was being computed",
    told="nothing",
)
def test_a_process_ends_with_another_whatever_it_does() -> None:
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    known = ProcessId(ProcessId.of_this_process().place, driver.pid, _start(driver.pid))
    program = (
        "import sys, time; from nas.runtime.processes import ProcessId, end_with\n"
        "end_with(ProcessId(sys.argv[1], int(sys.argv[2]), sys.argv[3])); print('ready', flush=True)\n"
        "while True: pass"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, known.place, str(known.pid), str(known.started)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        assert not known.has_ended and worker.poll() is None
        driver.kill()
        driver.wait()
        assert known.has_ended
        assert worker.wait(timeout=10) == -signal.SIGKILL
    finally:
        worker.kill()
        worker.communicate()
        driver.kill()


def test_nobody_ends_with_a_process_of_another_machine() -> None:
    assert not ProcessId("elsewhere", os.getpid(), "1").has_ended


def _start(pid: int) -> str | None:
    from nas.runtime.processes import start_of

    return start_of(pid)
