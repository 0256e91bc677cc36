"""Random erasing, jitter, crops and repeats: how often, how much, and from which numbers."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import pytest
import torch

from nas.data.augment import Augmentation, BatchRandomness
from nas.data.batching import epoch_order
from nas.data.color import jitter_colors
from nas.data.erasing import choose_box, erase
from nas.data.training_transform import TrainingTransform


def test_areas_aspects_and_frequency_of_what_is_erased() -> None:
    erased = [box for seed in range(4000) if (box := choose_box(seed, 0.25, 100, 100)) is not None]
    assert abs(len(erased) / 4000 - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 4000)
    erased = [box for seed in range(4000) if (box := choose_box(seed, 1.0, 100, 100)) is not None]
    areas = [tall * wide / 100**2 for _, _, tall, wide in erased]
    assert 0.018 < min(areas) < 0.022 and 0.325 < max(areas) < 0.345  # rounded to pixels
    # Uniform between 2% and a third: 17.7% on average.
    assert abs(sum(areas) / len(areas) - 0.1767) < 0.005
    aspects = [tall / wide for _, _, tall, wide in erased]
    assert 0.28 < min(aspects) < 0.4 and 2.5 < max(aspects) < 3.6
    assert all(top + tall <= 100 and left + wide <= 100 for top, left, tall, wide in erased)


def test_a_box_becomes_noise_and_the_rest_stays() -> None:
    images = torch.full((50, 3, 64, 64), 7.0)
    erased = erase(images.clone(), range(50), 1.0)
    noise = []
    for seed, image in enumerate(erased):
        top, left, tall, wide = choose_box(seed, 1.0, 64, 64)  # type: ignore[misc]
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[top : top + tall, left : left + wide] = True
        assert torch.equal(image[:, ~inside], images[0, :, ~inside])
        noise.append(image[:, inside].flatten())
    values = torch.cat(noise)
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    assert torch.equal(erase(images[3:5].clone(), (3, 4), 1.0), erased[3:5])
    assert torch.equal(erase(images.clone(), range(50), 0.0), images)


def test_jitter_by_hand() -> None:
    images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    assert torch.equal(jitter_colors(images, range(60), 0.0), images)
    varied = jitter_colors(images, range(60), 0.4)
    brightness = varied.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert 0.58 < brightness.min() < 0.7 and 1.3 < brightness.max() < 1.42
    # Saturation and contrast both multiply the distance between channels, brightness too.
    spread = (varied.amax(1) - varied.amin(1)).mean((1, 2)) / (images.amax(1) - images.amin(1)).mean((1, 2))
    assert 0.6**3 < spread.min() < 0.6 and 1.4 < spread.max() < 1.4**3 + 0.01
    grey = jitter_colors(images[:, :1], range(60), 0.4)
    assert grey.shape == (60, 1, 8, 8) and not torch.equal(grey, images[:, :1])
    assert torch.equal(jitter_colors(images[7:9], (7, 8), 0.4), varied[7:9])


@pytest.mark.parametrize(("least", "policy"), [(0.08, "large"), (0.5, "small"), (0.9, "digits")])
def test_crops_keep_at_least_the_recipes_share(least: float, policy: str) -> None:
    # A ramp: what is left of the range tells the width of the crop, and its direction the flip.
    side, count = 64, 400
    ramp = torch.linspace(0.5, side - 0.5, side).div(side).expand(count, 1, side, side)
    augment = Augmentation(policy, crop_area=least, interpolation="bilinear")  # type: ignore[arg-type]
    draws = augment.sample_parameters(count, torch.Generator().manual_seed(0))
    across = augment.move(ramp, draws)[:, 0, 0]
    down = augment.move(ramp.transpose(2, 3), draws)[:, 0, :, 0]
    # 64 pixels span 63 steps of the crop's width.
    width, height = ((values[:, -10] - values[:, 9]) * side / (side - 19) for values in (across, down))
    areas = width.abs() * height.abs()
    assert areas.min() >= least * 0.72 and areas.max() <= 1.001  # a side of 4:3 is cut at the image's own
    assert areas.min() < least + 0.1
    flipped = (width < 0).float().mean()
    assert flipped == 0 if policy == "digits" else abs(flipped - 0.5) < 0.08


def test_crops_of_streamed_images_keep_the_recipes_share() -> None:
    from nas.data.rand_augment import seeded

    transform = TrainingTransform(Augmentation("large", crop_area=0.3))
    areas, aspects = [], []
    for seed in range(500):
        with seeded(seed):
            left, top, right, bottom = transform.choose_box(400, 300)
        assert left >= 0 and top >= 0 and right <= 400 and bottom <= 300
        areas.append((right - left) * (bottom - top) / (400 * 300))
        aspects.append((right - left) / (bottom - top))
    assert 0.295 < min(areas) < 0.33 and 0.9 < max(areas) <= 1
    assert 0.74 < min(aspects) and max(aspects) < 1.35


def test_random_interpolation_takes_both() -> None:
    images = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    augments = [Augmentation("large", interpolation=name) for name in ("random", "bicubic", "bilinear")]
    draws = augments[0].sample_parameters(40, torch.Generator().manual_seed(0))
    mixed, cubic, linear = (augment.move(images, draws) for augment in augments)
    took_cubic = [torch.equal(one, other) for one, other in zip(mixed, cubic, strict=True)]
    took_linear = [torch.equal(one, other) for one, other in zip(mixed, linear, strict=True)]
    assert all(one != other for one, other in zip(took_cubic, took_linear, strict=True))
    assert 8 < sum(took_cubic) < 32


def test_interpolation_of_a_crop_is_independent_of_its_flip() -> None:
    draws = torch.full((4, 5), 0.5)
    draws[:, 4] = torch.tensor([0.1, 0.4, 0.6, 0.9])
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    moved = Augmentation("large", interpolation="random").move(images, draws)
    cubic = Augmentation("large", interpolation="bicubic").move(images, draws)
    assert [torch.equal(*pair) for pair in zip(moved, cubic, strict=True)] == [True, False, True, False]


def test_repeated_images_by_hand() -> None:
    orders = [epoch_order(12, seed=5, epoch=epoch, repeats=3).tolist() for epoch in range(3)]
    for order in orders:
        assert len(order) == 12  # as many steps as without
        assert order[0::3] == order[1::3] == order[2::3]  # copies lie together, so in one batch
        assert Counter(Counter(order).values()) == {3: 4}
    assert Counter(chain(*orders)) == dict.fromkeys(range(12), 3)  # three epochs show all, each as often
    assert sorted(epoch_order(12, 5, 0).tolist()) == list(range(12))
    assert set(epoch_order(12, 5, 3, 3).tolist()) != set(orders[0])
    uneven = [epoch_order(10, 0, epoch, 4) for epoch in range(4)]
    assert [len(order) for order in uneven] == [10] * 4
    assert set(torch.cat(uneven).tolist()) == set(range(10))


def test_copies_of_an_image_in_a_batch_are_varied_differently() -> None:
    from tests.helpers.noise import three_splits

    split = three_splits(Augmentation("small")).train
    how = {"shuffle_seed": 0, "augment": Augmentation("small", repeats=2, random_erasing=1.0)}
    batches = list(split.batches(8, **how))  # type: ignore[arg-type]
    assert len(batches) == len(split) // 8
    for images, labels in batches:
        assert torch.equal(labels[0::2], labels[1::2])
        assert all(not torch.equal(one, other) for one, other in zip(images[0::2], images[1::2], strict=True))
    # Two ranks see the copies that one process sees.
    ranks = [list(split.batches(8, rank=rank, world=2, **how)) for rank in range(2)]  # type: ignore[arg-type]
    for number, (images, _) in enumerate(batches):
        assert torch.equal(ranks[0][number][0], images[0::2])
        assert torch.equal(ranks[1][number][0], images[1::2])


def test_parameters_and_seeds_belong_together() -> None:
    randomness = BatchRandomness((1, 2), torch.full((2, 5), 0.5))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    jittered = Augmentation("small", color_jitter=0.4).apply(images, randomness)
    torch.testing.assert_close(jittered, jitter_colors(images, (1, 2), 0.4))
    # RandAugment takes the jitter's place, as in timm.
    both = Augmentation("small", color_jitter=0.4, rand_augment="rand-m9")
    alone = Augmentation("small", rand_augment="rand-m9")
    assert torch.equal(both.apply(images, randomness), alone.apply(images, randomness))
