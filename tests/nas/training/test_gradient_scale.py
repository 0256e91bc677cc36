"""Training in float16: steps that overflow are skipped, all else is as in float32. On a CPU, which can do it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.data.dataset import Data
from nas.study.settings import Settings
from nas.training.gradient_scale import GradientScale
from nas.training.loop import Training
from nas.training.sharded_step import sharded_step
from search_spaces.errors import WorkError
from search_spaces.space import Space
from tests.helpers.training import RECIPE, equal_tensors, new_training, saved_state, train_on


@pytest.fixture
def float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float16, as on a GPU that has nothing better."""
    monkeypatch.setattr("nas.runtime.device.compute_dtype", lambda device: torch.float16)


class HalfProduct(nn.Module):
    """One weight times the input, in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.half() * self.weight.half()


def test_an_overflow_skips_the_step_and_halves_the_scale(float16: None) -> None:
    """The scale starts at 65536, more than float16 holds (65504); the gradient of 3 w is 3."""
    model = HalfProduct()
    scale, optimizer = GradientScale(model), torch.optim.SGD(model.parameters(), lr=0.5)
    weights, scales = [], []
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.tensor([3.0])).sum().backward()
        scale.unscale(optimizer)
        scale.step(optimizer)
        weights.append(float(model.weight.detach()))
        scales.append(float(scale.state_dict()["scale"]))
    # 3 * 32768 overflows too; then 3 * 16384 does not.
    assert scales == [32768.0, 16384.0, 16384.0, 16384.0]
    assert weights == [2.0, 2.0, 0.5, -1.0]


def test_small_gradients_are_not_lost(float16: None) -> None:
    """1e-8 is nothing in float16, whose least number is 6e-8."""
    model = HalfProduct()
    scale, optimizer = GradientScale(model), torch.optim.SGD(model.parameters(), lr=1.0)
    (model(torch.tensor([1.0])).sum() * 1e-8).backward()
    scale.unscale(optimizer)
    assert model.weight.grad is not None and model.weight.grad.item() == pytest.approx(1e-8, rel=1e-3)


def test_nothing_is_scaled_in_float32() -> None:
    model = HalfProduct()
    scale, norm = GradientScale(model), torch.tensor(float("inf"))
    assert model(torch.ones(1)).dtype == torch.float16 and scale.state_dict() == {}
    assert scale.excuse_overflow(norm) is norm


def test_gradients_are_summed_over_shards_before_they_are_unscaled(float16: None) -> None:
    """An overflow of one worker reaches all by the sum, so all skip the step; without one all take the same step."""
    images, labels = torch.tensor([1.0, 1.0, 3.0, 1.0]), torch.zeros(4)
    model = HalfProduct()
    scale, optimizer = GradientScale(model), torch.optim.SGD(model.parameters(), lr=1.0)
    scale.load_state_dict({"scale": torch.tensor(32768.0), "_growth_tracker": torch.tensor(0)})

    def run_shard(step: int, shard: int, images: Tensor, labels: Tensor) -> Tensor:
        loss = model(images).sum()
        (loss / 2).backward()
        return loss.detach()

    def from_the_other(tensors: Sequence[Tensor]) -> None:  # a worker whose gradient overflowed
        tensors[0].add_(float("inf"))

    sharded_step(run_shard, model, 1, 2, 0, from_the_other)(0, images[:2], labels[:2])
    scale.unscale(optimizer)
    scale.step(optimizer)
    assert model.weight.item() == 2.0 and scale.state_dict()["scale"] == 16384.0
    optimizer.zero_grad()
    sharded_step(run_shard, model, 2, 2)(0, images, labels)
    scale.unscale(optimizer)
    scale.step(optimizer)
    assert model.weight.item() == 2.0 - (1 + 1 + 3 + 1) / 2


# -- in a training -----------------------------------------------------------------------------------


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch, float16: None) -> Iterator[None]:
    """Float16 whose first steps overflow and whose scale soon grows."""
    monkeypatch.setattr(
        "nas.training.gradient_scale.gradient_scaler",
        lambda device: torch.amp.GradScaler("cpu", init_scale=2.0**26, growth_interval=4),
    )
    yield


def test_a_training_skips_what_overflows_and_learns_the_rest(
    overflowing: None, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    training = new_training(space, settings, data, tmp_path / "c")
    start = {name: value.clone() for name, value in training.model.named_parameters()}
    train_on(training, settings, data, until=1)
    state = saved_state(training)
    assert equal_tensors({n: v for n, v in training.model.named_parameters()}, start)
    assert state["scale.scale"] == 2.0**25
    losses = train_on(training, settings, data)
    assert not equal_tensors({n: v for n, v in training.model.named_parameters()}, start)
    assert len(losses) == 11 and training.step == 12


def test_resumption_keeps_the_scale(
    overflowing: None, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    whole = new_training(space, settings, data, tmp_path / "whole")
    losses = train_on(whole, settings, data)
    expected = saved_state(whole)
    for stop in (3, 7):
        first = train_on(
            new_training(space, settings, data, tmp_path / str(stop)), settings, data, until=stop
        )
        resumed = new_training(space, settings, data, tmp_path / str(stop))
        assert first + train_on(resumed, settings, data) == losses
        assert equal_tensors(saved_state(resumed), expected)


def test_losses_and_clipped_norms_are_those_of_float32(
    space: Space, settings: Settings, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, recipe=replace(RECIPE, clip_grad=0.01, shards=2))
    losses, norms = [], []
    for enabled in (False, True):
        dtype = torch.float16 if enabled else torch.float32
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=enabled)  # so that no step is skipped
        monkeypatch.setattr("nas.runtime.device.compute_dtype", partial(return_first, dtype))
        monkeypatch.setattr("nas.training.gradient_scale.gradient_scaler", partial(return_first, scaler))
        training = new_training(space, settings, data, tmp_path / str(enabled))
        training.optimizer.step = partial(note_norm, norms, training, training.optimizer.step)  # type: ignore[method-assign]
        losses.append(train_on(training, settings, data, until=4))
    assert norms == pytest.approx([0.01] * 8, rel=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=5e-3) and losses[0] != losses[1]


def return_first(value: object, *_: object) -> object:
    return value


def note_norm(norms: list[float], training: Training, step: Callable[..., object], *_: object) -> object:
    gradients = [p.grad.double().flatten() for p in training.parameters if p.grad is not None]
    norms.append(float(torch.cat(gradients).norm()))
    return step()


def test_a_scale_that_finds_no_end_is_divergence(
    space: Space,
    settings: Settings,
    data: Data,
    tmp_path: Path,
    float16: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "nas.training.gradient_scale.gradient_scaler",
        lambda device: torch.amp.GradScaler("cpu", init_scale=2.0**-9, growth_interval=4),
    )
    training = new_training(space, settings, data, tmp_path / "c")
    batch = next(data.train.batches(8))

    def overflows(step: int, images: Tensor, labels: Tensor) -> Tensor:
        first = training.model(images, space.smallest).sum()
        first.backward()
        training.parameters[0].grad = torch.full_like(training.parameters[0], torch.inf)
        return torch.tensor(1.0)

    with pytest.raises(WorkError, match=r"diverged at step 2: the norm of the gradients is inf"):
        training.run(overflows, lambda *_: iter([batch] * 4))
