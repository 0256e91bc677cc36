"""Training, evaluation, augmentation and latency on an imitated GPU: nothing of them stays on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from nas.data.augment import Augmentation
from nas.data.images import InMemoryImages
from nas.data.splits import Split
from nas.evaluation.accuracy import Evaluator
from nas.evaluation.prefix_cache import PrefixCacheEvaluator
from nas.latency.measure import measure_table
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.supernet_step import supernet_step
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.fake_device import FakeDevice, Watch, fake_device, require_on

# Every operator that a space may name without Refiner's maps, with a norm over the batch in the dynamic kernels.
SPACE = """
name: fake
blocks:
  mlp_ratio: 1
  operators:
    lsa: {window_size: [3], pos: [rpe, cpe]}
    swin: {window_size: [2], shift: [none, half], pos: rpe}
    dwconv: {kernel_size: 3, dynamic: [none, homogeneous], pos: ape}
    refiner: {expand_ratio: 2, kernel_size: 3}
scales:
  one:
    images: 16
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""
RECIPE = Recipe(epochs=1, batch_size=8, shards=2, drop_path=0.1, mixup=0.8, cutmix=1.0)


@pytest.fixture(scope="module")
def space() -> Space:
    return parse_declaration(SPACE, "space.yaml").space(None, 16, 3, 4)


@pytest.fixture(params=["cuda", "lazy"])
def kind(request: pytest.FixtureRequest) -> FakeDevice:
    return request.param  # type: ignore[no-any-return]


def split_of(augmentation: Augmentation) -> Split:
    images = InMemoryImages(torch.zeros(24, 3, 16, 16, dtype=torch.uint8))
    labels = torch.arange(24) % 4
    return Split(images, torch.arange(24), labels, (0.5,) * 3, (0.2,) * 3, augmentation)


@pytest.mark.parametrize("policy", ["uniform", "fair", "sandwich"])
def test_steps_of_a_supernet(space: Space, kind: FakeDevice, policy: str, tmp_path: Path) -> None:
    settings = replace(Settings(), policy=policy, recipe=RECIPE)
    supernet, split = Supernet(space), split_of(Augmentation("small"))
    with fake_device(kind) as (device, watch):
        supernet.to(device)
        training = Training(supernet, RECIPE, 3, tmp_path / "c", "it")
        batches = list(split.batches(8, device=device, shuffle_seed=0, augment=True))
        step = supernet_step(supernet, settings, device, 2, 2)
        watch.uploads.clear(), watch.waits.clear()
        for number in range(2):
            training.step = number
            loss = step(number, *batches[number])
            assert loss.device.type == kind and loss.dtype == torch.float32
        require_on(device, supernet)
        assert_the_processor_runs_ahead(watch)


def assert_the_processor_runs_ahead(watch: Watch) -> None:
    assert not watch.waits, watch.waits


def test_a_whole_training_up_to_its_checkpoint(
    space: Space, kind: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings(), recipe=RECIPE)
    supernet, split, saved = Supernet(space), split_of(Augmentation("small")), dict[str, Tensor]()
    with fake_device(kind) as (device, watch):
        supernet.to(device)
        training = Training(supernet, RECIPE, 3, tmp_path / "c", "it")

        def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
            return split.batches(8, device=device, shuffle_seed=0, epoch=epoch, augment=True, start=first)

        step = supernet_step(supernet, settings, device, 2, 2)
        training.run(step, batches, until=3, save_checkpoints=False)
        require_on(device, supernet)
        require_on(device, training.averaged_network)
    assert training.step == 3
