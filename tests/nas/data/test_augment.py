"""Augmentation: shapes, ranges, and what neutral numbers leave alone."""

from __future__ import annotations

import pytest
import torch

from nas.data.augment import Augmentation


@pytest.mark.parametrize("policy", ["digits", "small", "large"])
@pytest.mark.parametrize("side", [8, 28])
def test_augmentation_keeps_shape_and_range_and_each_image_its_own(policy: str, side: int) -> None:
    augment = Augmentation(policy)  # type: ignore[arg-type]
    images = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    draws = augment.sample_parameters(6, torch.Generator().manual_seed(1))
    varied = augment.move(images, draws)
    assert varied.shape == images.shape
    assert varied.min() >= 0 and varied.max() <= 1.0001
    assert not torch.allclose(varied, images)
    torch.testing.assert_close(augment.move(images[2:3], draws[2:3]), varied[2:3])


def test_neutral_draws_leave_digits_alone_and_small_images_crop_back() -> None:
    images = torch.rand(1, 1, 28, 28)
    middle = torch.full((1, 5), 0.5)
    torch.testing.assert_close(Augmentation("digits").move(images, middle), images, atol=1e-5, rtol=0)
    assert torch.equal(Augmentation("small").move(images, middle), images)
    flipped = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.0]])
    assert torch.equal(Augmentation("small").move(images, flipped), images.flip(3))
    everything = torch.tensor([[1.0, 0.5, 0.5, 0.5, 1.0]])
    torch.testing.assert_close(Augmentation("large").move(images, everything), images, atol=1e-5, rtol=0)


def test_a_vertical_shift_moves_down_the_rows_alone() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[0, 0, 4, 4] = 1
    down = torch.tensor([[0.5, 0.99, 0.5, 0.5, 1.0]])
    varied = Augmentation("small").move(images, down)
    assert varied[0, 0, 3, 4] == 1 and varied.sum() == 1
