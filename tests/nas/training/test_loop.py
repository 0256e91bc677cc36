"""Training: stopped and resumed it computes what it would have computed; what cannot work is refused."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.data.dataset import Data
from nas.runtime import interrupt
from nas.runtime.files import load_tensors, save_tensors
from nas.runtime.interrupt import Interrupted
from nas.study.settings import Settings
from nas.training.loop import Training, checkpoint_seconds
from nas.training.supernet_step import supernet_step
from search_spaces.errors import CheckpointError, RequestError, WorkError
from search_spaces.space import Space
from supernet.sampling import POLICIES
from tests.helpers.training import CPU, RECIPE, equal_tensors, new_training, saved_state, train_on


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_resumed_from_any_step_equals_uninterrupted(
    policy: str, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, policy=policy)
    uninterrupted = new_training(space, settings, data, tmp_path / "uninterrupted")
    losses = train_on(uninterrupted, settings, data)
    assert len(losses) == uninterrupted.total_steps == 12 and all(map(math.isfinite, losses))
    expected = saved_state(uninterrupted)
    every = range(1, uninterrupted.total_steps) if policy == "uniform" else (2, 6)
    for stop in every:  # in the middle of epochs and at their ends
        checkpoint = tmp_path / str(stop)
        first = train_on(new_training(space, settings, data, checkpoint), settings, data, until=stop)
        resumed = new_training(space, settings, data, checkpoint)
        torch.manual_seed(12345)  # what happened to run before must not matter
        assert resumed.step == stop
        assert first + train_on(resumed, settings, data) == losses
        assert equal_tensors(saved_state(resumed), expected)


def test_finished_training_has_nothing_left(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    train_on(new_training(space, settings, data, tmp_path / "c"), settings, data)
    again = new_training(space, settings, data, tmp_path / "c")
    assert again.step == again.total_steps and train_on(again, settings, data) == []


def test_training_learns_and_averages(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    settings = replace(settings, recipe=replace(RECIPE, epochs=30, lr=1e-2))
    training = new_training(space, settings, data, tmp_path / "c")
    losses = train_on(training, settings, data)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    weights, average = training.model.state_dict(), training.averaged_network.state_dict()
    assert any(not torch.equal(weights[name], average[name]) for name in weights)


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 7, 1000])
def test_damaged_checkpoint_is_refused(
    size: int, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    train_on(new_training(space, settings, data, path), settings, data, until=1)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="truncated"):
        new_training(space, settings, data, path)


def test_checkpoint_of_another_network_is_refused(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    train_on(new_training(space, settings, data, tmp_path / "c"), settings, data, until=1)
    with pytest.raises(CheckpointError, match="does not hold this network's weights"):
        Training(nn.Linear(2, 2), RECIPE, 3, tmp_path / "c", "it")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "{"},
        {"recipe": "3"},
        {"step": "many"},
        {"optimizer.x.exp_avg": torch.ones(1)},
        {"seen": None},
    ],
    ids=str,
)
def test_checkpoint_of_odd_content_is_one_sentence(
    change: dict[str, str | Tensor | None], space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    train_on(new_training(space, settings, data, tmp_path / "c"), settings, data, until=1)
    tensors, metadata = load_tensors(tmp_path / "c")
    for name, value in change.items():
        if isinstance(value, str):
            metadata[name] = value
        elif value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_tensors(tmp_path / "c", tensors, metadata)
    with pytest.raises(CheckpointError, match="c does not hold this network's weights"):
        new_training(space, settings, data, tmp_path / "c")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_is_work_that_failed(
    bad: float, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    training = new_training(space, settings, data, tmp_path / "c")
    train_on(training, settings, data, until=2)
    before = saved_state(training)
    batch = next(data.train.batches(8))
    with pytest.raises(
        WorkError, match=r"diverged at step 3.*lower the learning rate \(it is 0.002\)"
    ) as error:
        training.run(lambda *_: torch.tensor(bad), lambda *_: iter([batch]), on_progress=lambda *_: None)
    assert error.value.exit_code == 1
    assert equal_tensors(load_tensors(training.checkpoint)[0], before)  # the last good state is what is kept


# -- interruption ------------------------------------------------------------------------------------


def test_interrupt_saves_and_resumes(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    uninterrupted = new_training(space, settings, data, tmp_path / "uninterrupted")
    losses = train_on(uninterrupted, settings, data)
    training = new_training(space, settings, data, tmp_path / "c")
    step = supernet_step(training.model, settings, CPU)  # type: ignore[arg-type]
    seen: list[float] = []

    def signalled(number: int, images: Tensor, labels: Tensor) -> Tensor:
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(number, images, labels)

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(8, shuffle_seed=0, epoch=epoch, augment=True, start=first)

    with interrupt.graceful(), pytest.raises(Interrupted):
        training.run(signalled, batches, on_progress=lambda done, loss: seen.append(loss))
    assert len(seen) == 5  # the step that was running is finished and kept
    resumed = new_training(space, settings, data, tmp_path / "c")
    assert resumed.step == 5
    assert seen + train_on(resumed, settings, data) == losses
    assert equal_tensors(saved_state(resumed), saved_state(uninterrupted))


def test_interval_of_checkpoints_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_CHECKPOINT_SECONDS", raising=False)
    assert checkpoint_seconds() == 20
    monkeypatch.setenv("NAS_CHECKPOINT_SECONDS", "0.5")
    assert checkpoint_seconds() == 0.5
    monkeypatch.setenv("NAS_CHECKPOINT_SECONDS", "often")
    with pytest.raises(RequestError, match="NAS_CHECKPOINT_SECONDS must be a number of seconds, not 'often'"):
        checkpoint_seconds()
