"""Steps of a supernet's training on an imitated GPU: nothing of them stays on the CPU, which waits for no value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.augment import Augmentation
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.supernet_step import supernet_step
from supernet.supernet import Supernet
from tests.fake_gpu.examples import small_space, split_of
from tests.helpers.fake_device import FakeDevice, fake_device, require_on

RECIPE = Recipe(epochs=1, batch_size=8, shards=2, drop_path=0.1, mixup=0.8, cutmix=1.0)


@pytest.mark.parametrize(
    ("kind", "policy"), [("cuda", "uniform"), ("cuda", "fair"), ("cuda", "sandwich"), ("lazy", "sandwich")]
)
def test_a_step_stays_on_the_gpu_and_waits_for_nothing(kind: FakeDevice, policy: str) -> None:
    supernet, split = Supernet(small_space()), split_of(Augmentation("small"))
    settings = replace(Settings(), policy=policy, recipe=RECIPE)
    with fake_device(kind) as (device, watch):
        supernet.to(device)
        images, labels = next(split.batches(8, device=device, shuffle_seed=0, augment=True))
        assert images.device == labels.device == device
        step = supernet_step(supernet, settings, device, 2, 2)
        watch.waits.clear()
        loss = step(0, images, labels)
        assert (loss.device.type, loss.dtype) == (kind, torch.float32)
        require_on(device, supernet)
        assert any(parameter.grad is not None for parameter in supernet.parameters())
        assert not watch.waits


@pytest.mark.parametrize("kind", ["cuda", "lazy"])
def test_a_whole_training_stays_on_the_gpu(kind: FakeDevice, tmp_path: Path) -> None:
    supernet, split = Supernet(small_space()), split_of(Augmentation("small"))
    settings = replace(Settings(), recipe=RECIPE)
    with fake_device(kind) as (device, _):
        supernet.to(device)
        training = Training(supernet, RECIPE, 3, tmp_path / "checkpoint", "it")

        def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
            return split.batches(8, device=device, shuffle_seed=0, epoch=epoch, augment=True, start=first)

        training.run(supernet_step(supernet, settings, device, 2, 2), batches, save_checkpoints=False)
        require_on(device, supernet)
        require_on(device, training.averaged_network)
    assert training.step == 3
