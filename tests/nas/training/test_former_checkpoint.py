"""The last two checkpoints of a training are kept, and the older one stands in where the newer is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.data.dataset import Data
from nas.runtime.files import load_metadata, load_tensors
from nas.study.settings import Settings
from nas.training.former_checkpoint import former_checkpoint, remove_checkpoints, restore_checkpoint
from nas.training.supernet_checkpoint import read_progress
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from tests.helpers.training import equal_tensors, new_training, saved_state, train_on


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.fixture
def checkpoint(space: Space, settings: Settings, data: Data, tmp_path: Path) -> Path:
    """A checkpoint after five steps, and one after two before it."""
    path = tmp_path / "checkpoint.safetensors"
    training = new_training(space, settings, data, path)
    for stop in (2, 5):
        train_on(training, settings, data, until=stop)
    return path


@pytest.mark.parametrize("damage", [flip, truncate, lambda path: path.write_bytes(b"")])
def test_training_goes_on_from_the_older_one(
    damage: Callable[[Path], None],
    checkpoint: Path,
    space: Space,
    settings: Settings,
    data: Data,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uninterrupted = new_training(space, settings, data, tmp_path / "uninterrupted")
    train_on(uninterrupted, settings, data)
    damage(checkpoint)
    assert read_progress(checkpoint, verify=True) == (2, 12)  # which writes nothing
    with pytest.raises(CheckpointError):
        load_tensors(checkpoint)
    restore_checkpoint(checkpoint)
    said = capsys.readouterr()
    assert "checkpoint.safetensors is " in said.err and "of step 2, takes its place" in said.err
    resumed = new_training(space, settings, data, checkpoint)
    assert resumed.step == 2
    train_on(resumed, settings, data)
    assert equal_tensors(saved_state(resumed), saved_state(uninterrupted))


def test_a_sound_checkpoint_stays(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restore_checkpoint(checkpoint)
    restore_checkpoint(checkpoint.with_name("absent.safetensors"))
    assert read_progress(checkpoint) == read_progress(checkpoint, verify=True) == (5, 12)
    assert load_metadata(former_checkpoint(checkpoint))["step"] == "2"
    assert capsys.readouterr().err == ""


def test_two_damaged_ones_are_an_error(checkpoint: Path) -> None:
    flip(checkpoint)
    flip(former_checkpoint(checkpoint))
    assert read_progress(checkpoint) == (5, 12)  # by its header
    for read in (restore_checkpoint, lambda path: read_progress(path, verify=True)):
        with pytest.raises(CheckpointError, match="is damaged"):
            read(checkpoint)
    former_checkpoint(checkpoint).unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        restore_checkpoint(checkpoint)
    remove_checkpoints(checkpoint)
    assert list(checkpoint.parent.iterdir()) == []
