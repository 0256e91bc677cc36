"""Checkpoints are written beside the training: whole, one at a time, and as seldom as they have to be."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.dataset import Data
from nas.runtime.files import load_tensors, save_tensors
from nas.study.settings import Settings
from nas.training import checkpoint_writer
from nas.training.checkpoint_writer import CheckpointWriter, seconds_between_copies
from search_spaces.errors import WorkError
from search_spaces.space import Space
from tests.helpers.patience import PATIENCE
from tests.helpers.training import new_training, train_on

STEP_ONE = {"step": "1"}


class Gate:
    """A disk that writes when it is told to."""

    def __init__(self) -> None:
        self.opened, self.written = threading.Event(), list[str]()

    def save(
        self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], former: Path
    ) -> None:
        assert self.opened.wait(30)
        save_tensors(path, tensors, metadata, former)
        self.written.append(metadata["step"])


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(checkpoint_writer, "save_tensors", gate.save)
    return gate


def test_what_is_written_is_what_was_there_when_it_began(tmp_path: Path, gate: Gate) -> None:
    writer, weight = CheckpointWriter(tmp_path / "c"), torch.arange(4.0).view(2, 2)
    writer.start({"weight": weight, "column": weight.T[0]}, STEP_ONE)
    weight.zero_()  # the training goes on
    assert not (tmp_path / "c").exists()
    gate.opened.set()
    writer.wait()
    tensors, metadata = load_tensors(tmp_path / "c")
    assert tensors["weight"].tolist() == [[0, 1], [2, 3]] and tensors["column"].tolist() == [0, 2]
    assert metadata == STEP_ONE
    # The same memory takes the next state, of which a tensor is new and one has another shape.
    writer.start({"weight": torch.ones(3), "new": torch.tensor(7)}, {"step": "2"})
    writer.wait()
    tensors, metadata = load_tensors(tmp_path / "c")
    assert tensors.keys() == {"weight", "new"} and tensors["weight"].tolist() == [1, 1, 1]
    assert metadata == {"step": "2"}


def test_one_is_written_at_a_time(tmp_path: Path, gate: Gate) -> None:
    writer = CheckpointWriter(tmp_path / "c")
    assert writer.is_due(0.0) and not writer.is_due(1000.0)
    writer.start({"weight": torch.zeros(1)}, STEP_ONE)
    assert not writer.is_due(0.0)  # the disk is slower than the training
    second = threading.Thread(target=writer.start, args=({"weight": torch.ones(1)}, {"step": "2"}))
    second.start()
    second.join(0.2)
    assert second.is_alive() and gate.written == []
    gate.opened.set()
    second.join(30)
    writer.wait()
    assert gate.written == ["1", "2"] and load_tensors(tmp_path / "c")[0]["weight"] == 1


@pytest.mark.parametrize("notice", ["is_due", "wait", "start"])
def test_what_cannot_be_written_is_said_when_the_training_looks(
    notice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, *_: object) -> None:
        raise WorkError(f"{path} cannot be written (No space left on device); free some space")

    writer = CheckpointWriter(tmp_path / "c")
    writer.start({"weight": torch.zeros(1)}, STEP_ONE)
    writer.wait()
    monkeypatch.setattr(checkpoint_writer, "save_tensors", full)
    writer.start({"weight": torch.ones(1)}, {"step": "2"})
    while any(thread.name == "checkpoint" for thread in threading.enumerate()):
        pass
    looks = {"is_due": lambda: writer.is_due(1e9), "wait": writer.wait, "start": lambda: writer.start({}, {})}
    with pytest.raises(WorkError, match=r"No space left on device\); free some space"):
        looks[notice]()
    assert load_tensors(tmp_path / "c") == ({"weight": torch.zeros(1)}, STEP_ONE)
    writer.wait()  # it is said once


def test_copying_takes_three_percent_of_the_time_at_most() -> None:
    assert seconds_between_copies(0.1, 20.0) == 20.0
    # 3 s in every 100 s.
    assert seconds_between_copies(3.0, 20.0) == pytest.approx(97.0)
    assert seconds_between_copies(0.0, 0.0) == 0.0


def test_the_interval_is_from_one_copy_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoint_writer, "monotonic", lambda: now[0])
    writer = CheckpointWriter(tmp_path / "c")

    class Slow(torch.Tensor):
        """A tensor whose copy takes three seconds."""

        def detach(self) -> Tensor:
            now[0] += 3.0
            return self.as_subclass(Tensor)

    writer.start({"weight": torch.zeros(1).as_subclass(Slow)}, STEP_ONE)
    writer.wait()
    assert now == [103.0]
    for later, due in ((20.0, False), (96.0, False), (98.0, True)):
        now[0] = 103.0 + later
        assert writer.is_due(20.0) is due


# -- in a training -----------------------------------------------------------------------------------


def test_a_training_saves_beside_its_steps_and_waits_for_the_last(
    space: Space, settings: Settings, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []

    def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], former: Path) -> None:
        written.append((metadata["step"], threading.current_thread().name))
        save_tensors(path, tensors, metadata, former)

    monkeypatch.setattr(checkpoint_writer, "save_tensors", save)
    monkeypatch.setattr(CheckpointWriter, "is_due", lambda self, least_seconds: self.wait() or True)
    train_on(new_training(space, settings, data, tmp_path / "c"), settings, data)
    assert written == [(str(step), "checkpoint") for step in [*range(1, 13), 12]]
    assert load_tensors(tmp_path / "c")[1]["step"] == "12"


def test_a_full_disk_ends_a_training_with_its_sentence(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    training = new_training(space, settings, data, tmp_path / "file" / "c")
    with pytest.raises(WorkError, match=r"file/c cannot be written"):
        train_on(training, settings, data, save_seconds=0.0)
    assert training.step < training.total_steps  # not only at the end


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Ten writers are killed, each at another moment; every tensor in what they leave is of one step."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, str(tmp_path / "c")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    steps = [int(line) for line in done.stdout.split()]
    assert len(steps) == 10 and len(set(steps)) > 1, steps


KILLED_WRITERS = """
import os, signal, sys, time
from pathlib import Path
import torch
from nas.runtime.files import load_tensors
from nas.training.checkpoint_writer import CheckpointWriter
torch.set_num_threads(1)  # a pool of threads does not survive a fork
path = Path(sys.argv[1])
for kill in range(10):
    path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        writer, state = CheckpointWriter(path), {str(index): torch.zeros(300_000) for index in range(8)}
        for step in range(1, 10**6):
            for tensor in state.values():
                tensor.fill_(step)
            writer.start(state, {"step": str(step)})
    started = time.monotonic()
    while not path.exists():
        time.sleep(0.005)
    time.sleep(0.37 * kill * (time.monotonic() - started))  # at another part of a write each time
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    tensors, metadata = load_tensors(path)
    assert all(bool((tensor == int(metadata["step"])).all()) for tensor in tensors.values()), metadata
    print(metadata["step"])
"""
