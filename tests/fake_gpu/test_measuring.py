"""Evaluation, BatchNorm calibration, augmentation and latency on an imitated GPU: nothing stays on the CPU."""

from __future__ import annotations

from random import Random

import pytest
import torch

from nas.data.augment import Augmentation, BatchRandomness
from nas.evaluation import accuracy
from nas.evaluation.accuracy import Evaluator
from nas.evaluation.prefix_cache import PrefixCacheEvaluator
from nas.latency import measure, timing
from nas.latency.measure import measure_table, usual_conditions
from nas.latency.parts import space_parts
from supernet.supernet import Supernet
from tests.fake_gpu.examples import small_space, split_of
from tests.helpers.fake_device import fake_device


def test_designs_are_calibrated_and_scored_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "pack_bits", lambda right: 0)  # there are no values to pack
    space = small_space()
    supernet, split = Supernet(space), split_of(Augmentation("small"))
    designs = [space.largest, space.sample(Random(1))]
    with fake_device("cuda") as (device, _):
        supernet.to(device)
        dtype = torch.bfloat16
        validation = list(split.batches(12, device=device, dtype=dtype))
        calibration = [images for images, _ in validation]
        cached = PrefixCacheEvaluator(supernet, validation, calibration, 2**20)
        for scores in (
            Evaluator(supernet, validation, calibration).score(designs[0]),
            *cached.score(designs),
        ):
            assert scores["images"] == 24


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation("digits"),
        Augmentation("small"),
        Augmentation("large"),
        Augmentation("small", rand_augment="rand-m9-mstd0.5-inc1", random_erasing=1.0),
        Augmentation("small", color_jitter=0.4, crop_area=0.08, interpolation="random"),
    ],
    ids=str,
)
def test_images_are_varied_there(augmentation: Augmentation) -> None:
    count = 64  # enough for every operation of RandAugment
    seeds = torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    parameters = augmentation.sample_parameters(count, torch.Generator().manual_seed(1))
    with fake_device("cuda") as (device, watch):
        images = torch.zeros(count, 3, 16, 16, device=device)
        varied = augmentation.apply(images, BatchRandomness(tuple(seeds), parameters))
        varied = augmentation.erase(varied, seeds)
        assert (varied.device, varied.shape, varied.dtype) == (device, images.shape, torch.float32)
        assert not watch.waits


def test_latencies_are_measured_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_ROUNDS", 1)
    monkeypatch.setattr(timing, "_MIN_ROUNDS", 1)
    monkeypatch.setattr(measure, "initialise", lambda module: None)  # which draws until a value suits
    space = small_space()
    with fake_device("cuda") as (device, _):
        table = measure_table(space, device, *usual_conditions(device))
    assert set(table.entries) == {part.name for part in space_parts(space)}
    assert (table.device, table.batch, table.dtype) == ("a GPU that is not there", 32, "bfloat16")
    assert str(table) == "32 images of 16x16 px in bfloat16 on a GPU that is not there"
