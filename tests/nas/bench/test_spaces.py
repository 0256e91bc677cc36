"""A space is for images of its scale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.bench.spaces import load_space
from search_spaces.space import Space
from tests.helpers.bench import QUICK


@pytest.mark.parametrize(
    ("scale", "image_size", "side", "channels"),
    [
        (None, None, 28, 1),
        ("nano", None, 28, 1),
        ("tiny", None, 224, 3),
        (None, 224, 224, 3),
        (None, 32, 32, 1),
    ],
)
def test_the_space_is_for_images_of_its_scale(
    scale: str | None, image_size: int | None, side: int, channels: int
) -> None:
    space: Space = load_space(replace(QUICK, scale=scale, image_size=image_size))
    assert space.image_size == (side, side) and space.in_channels == channels
