"""RandAugment on tensors is timm's on Pillow's images, operation by operation."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.augment import Augmentation, BatchRandomness
from nas.data.image_operations import OPERATIONS
from nas.data.rand_augment import apply_rand_augment, choose_steps, create_rand_augment, seeded
from search_spaces.errors import RequestError

FILL = (0.5, 0.4, 0.3)
SEEDS = range(150)


def photograph(side: int = 48) -> np.ndarray:  # type: ignore[type-arg]
    """Waves, a slope and some noise: no channel like another, not every value taken."""
    rows, columns = np.mgrid[:side, :side]
    noise = np.random.default_rng(0).integers(0, 40, (side, side))
    channels = (
        128 + 100 * np.sin(columns / 9),
        128 + 90 * np.cos(rows / 7 + columns / 20),
        20 + noise + columns * 3,
    )
    return np.stack(channels, 2).clip(0, 255).astype(np.uint8)


def to_batch(pixels: np.ndarray, count: int = 1) -> torch.Tensor:  # type: ignore[type-arg]
    images = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return images.float().div(255).expand(count, -1, -1, -1)


@pytest.mark.parametrize(
    ("text", "bicubic", "tolerance"),
    [
        ("rand-m9-n1-p1-mstd0.5", False, 1.5),
        ("rand-m9-n1-p1-mstd0.5-inc1", False, 1.5),
        ("rand-m10-n1-p1-inc1", False, 1.5),  # no bit is left of what is posterized
        # Splines of another slope (-0.75, where Pillow has -0.5) differ at edges.
        ("rand-m9-n1-p1-mstd0.5-inc1", True, 7),
    ],
)
def test_each_operation_is_pillows(text: str, bicubic: bool, tolerance: float) -> None:
    pixels, theirs = photograph(), create_rand_augment(text, FILL, bicubic)
    ours = apply_rand_augment(to_batch(pixels, len(SEEDS)), SEEDS, text, FILL, bicubic=bicubic)
    differences: dict[str, float] = defaultdict(float)
    for seed, image, steps in zip(SEEDS, ours, choose_steps(SEEDS, text, FILL, bicubic), strict=True):
        with seeded(seed):
            expected = np.asarray(theirs(Image.fromarray(pixels))).astype(float)
        difference = np.abs(image.permute(1, 2, 0).numpy() * 255 - expected).max()
        differences[steps[0].name] = max(differences[steps[0].name], float(difference))
    assert set(differences) >= {operation.name for operation in theirs.ops}  # each came up
    assert {name: value for name, value in differences.items() if value > tolerance} == {}


def test_operations_follow_one_another_as_in_timm() -> None:
    pixels, text = photograph(), "rand-m7-n3-p0.7-mstd1-inc1"
    theirs = create_rand_augment(text, FILL, bicubic=False)
    ours = apply_rand_augment(to_batch(pixels, 40), range(40), text, FILL, bicubic=False)
    counts, mean_differences = [], []
    for seed, image in enumerate(ours):
        with seeded(seed):
            expected = np.asarray(theirs(Image.fromarray(pixels))).astype(float)
        mean_differences.append(np.abs(image.permute(1, 2, 0).numpy() * 255 - expected).mean())
        counts.append(len(choose_steps([seed], text, FILL, False)[0]))
    # A byte of difference before a threshold or a histogram is more after it, for few pixels.
    assert np.median(mean_differences) < 1 and max(mean_differences) < 12
    assert min(counts) < 2 and max(counts) == 3


def test_values_by_hand() -> None:
    images = torch.tensor([0.0, 64, 128, 255]).div(255).view(1, 1, 2, 2)

    def after(name: str, argument: float) -> list[int]:
        from nas.data.image_operations import MoveOptions

        options = MoveOptions(torch.tensor([0.5]), bicubic=False)
        result = OPERATIONS[name](images, torch.tensor([argument]), options)
        return [round(value) for value in (result * 255).flatten().tolist()]

    assert after("Invert", 0) == [255, 191, 127, 0]
    assert after("Solarize", 100) == [0, 64, 127, 0]
    assert after("SolarizeAdd", 100) == [100, 164, 128, 255]
    assert after("Posterize", 2) == [0, 64, 128, 192]
    assert after("Brightness", 0.5) == [0, 32, 64, 128]
    assert after("Contrast", 0) == [112] * 4  # the mean, 111.75
    assert after("Rotate", 90) == [64, 255, 0, 128]  # counter-clockwise
    assert after("TranslateXRel", 0.5) == [64, 128, 255, 128]  # to the left; grey comes in


def test_each_image_has_its_own_whatever_its_batch_mates_and_the_callers_seeds() -> None:
    images, text = to_batch(photograph(), 12), "rand-m9-mstd0.5-inc1"
    random.seed(1)
    before = random.getstate()
    whole = apply_rand_augment(images, range(12), text, FILL, bicubic=True)
    assert random.getstate() == before
    random.seed(2)
    part = apply_rand_augment(images[5:9], range(5, 9), text, FILL, bicubic=True)
    assert torch.equal(part, whole[5:9])
    assert not torch.equal(whole[0], whole[1])


def test_grey_images_have_no_saturation_to_change() -> None:
    grey = photograph()[..., 1]
    text = "rand-m9-n1-p1-inc1"
    names = {steps[0].name for steps in choose_steps(SEEDS, text, (0.4,), False)}
    assert len(names) == 14 and "ColorIncreasing" not in names
    theirs = create_rand_augment(text, (0.4,), bicubic=False)
    ours = apply_rand_augment(to_batch(grey, len(SEEDS)), SEEDS, text, (0.4,), bicubic=False)
    for seed, image in zip(SEEDS, ours, strict=True):
        with seeded(seed):
            expected = np.asarray(theirs(Image.fromarray(grey))).astype(float)
        assert np.abs(image[0].numpy() * 255 - expected).max() < 1.5


@pytest.mark.parametrize("text", ["augmix-m3", "rand-x9", "rand-mnine", "rand-m9-t3a"])
def test_what_cannot_be_done_is_one_sentence(text: str) -> None:
    with pytest.raises(RequestError, match="rand_augment: "):
        create_rand_augment(text, FILL, bicubic=True)


def test_a_recipe_with_rand_augment_changes_colours_and_one_without_does_not() -> None:
    images = to_batch(photograph(), 8)
    randomness = BatchRandomness(tuple(range(8)), torch.full((8, 5), 0.5))
    plain = Augmentation("small").apply(images, randomness)
    assert torch.equal(plain, images)
    varied = Augmentation("small", rand_augment="rand-m9-p1").apply(images, randomness)
    assert all(not torch.equal(one, other) for one, other in zip(varied, plain, strict=True))
