"""No operation of a training step makes the CPU wait for the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.dataset import Data
from nas.study.designs import Design
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.subnet import RetrainingJob, train_one
from nas.training.supernet_step import supernet_step
from search_spaces.space import Space
from supernet.sampling import POLICIES
from tests.helpers.synchronisation import SynchronisationCount
from tests.helpers.training import CPU, RECIPE, new_training


@pytest.mark.parametrize("operation", [
    lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: bool(x.sum() > 0), lambda x: x[x > 0],
    lambda x: x.nonzero(), lambda x: x.cpu(), lambda x: x.numpy(),
    lambda x: x.masked_select(x > 0), lambda x: int(x[0]), lambda x: x.unique(), lambda x: torch.equal(x, x + 1),
    lambda x: x.clone().index_put_((x > 0,), torch.zeros(1)),
])  # fmt: skip
def test_what_waits_is_counted(operation: Callable[[Tensor], object]) -> None:
    with SynchronisationCount() as count:
        operation(torch.ones(3))
    assert count.found


def test_what_does_not_wait_is_not_counted() -> None:
    with SynchronisationCount() as count:
        x = torch.ones(3, requires_grad=True)
        (x[torch.tensor([0, 2])] * torch.where(x > 0, x, 0)[0]).sum().backward()
    assert count.found == []


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_step_of_a_supernet_waits_for_nothing(
    policy: str, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, policy=policy, recipe=replace(RECIPE, shards=2))
    training = new_training(space, settings, data, tmp_path / "c")
    step = supernet_step(training.model, settings, CPU, 2, 2)  # type: ignore[arg-type]
    for images, labels in data.train.batches(8, shuffle_seed=0, epoch=0, augment=True):
        with SynchronisationCount() as count:
            training.take_step(step, images, labels)
        assert count.found == []
    assert training.step > 2


def test_a_step_of_a_retraining_waits_for_nothing(
    space: Space, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step, found, steps = Training.take_step, [], []

    def counted(training: Training, *batch: object) -> tuple[Tensor, Tensor]:
        with SynchronisationCount() as count:
            result = take_step(training, *batch)  # type: ignore[arg-type]
        found.extend(count.found)
        steps.append(training.step)
        return result

    monkeypatch.setattr(Training, "take_step", counted)
    recipe = replace(RECIPE, drop_path=0.3, epochs=2)
    job = RetrainingJob(Design(space.largest), "scratch", tmp_path / "job", recipe, "0")
    train_one(job, {"data": data, "inherited": {}}, CPU, lambda result: None)
    assert found == [] and len(steps) >= 4
