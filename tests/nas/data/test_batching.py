"""Batches at the edge: no shard of one image for any number of images, batch, shards and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nas.data.augment import Augmentation
from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.images import InMemoryImages
from nas.data.splits import Split


@dataclass(frozen=True)
class Shape:
    """What decides the batches of a training."""

    images: int
    batch_size: int
    shards: int
    world: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    images = draw(st.integers(2, 300))
    batch_size = draw(st.integers(2, 80))
    shards = draw(st.integers(1, batch_size // 2))
    usable = usable_shards(images, shards)
    world = draw(st.sampled_from([n for n in range(1, usable + 1) if usable % n == 0]))
    return Shape(images, batch_size, shards, world)


def split_of(images: int) -> Split:
    """Images of one pixel that are their own labels."""
    pixels = InMemoryImages(torch.zeros(images, 1, 1, 1, dtype=torch.uint8))
    numbers = torch.arange(images)
    return Split(pixels, numbers, numbers, (0.0,), (1.0,), Augmentation("small"))


def epoch(shape: Shape, seed: int, rank: int) -> list[list[int]]:
    """The labels of each batch that a rank gets, as training asks for them."""
    least = SHARD_IMAGES * usable_shards(shape.images, shape.shards)
    split = split_of(shape.images)
    how = {"shuffle_seed": seed, "least": least, "rank": rank, "world": shape.world}
    return [labels.tolist() for _, labels in split.batches(shape.batch_size, **how)]  # type: ignore[arg-type]


@settings(deadline=None, max_examples=150)
@given(shapes(), st.integers(0, 3))
def test_every_shard_has_two_images_and_every_image_comes_once(shape: Shape, seed: int) -> None:
    shards = usable_shards(shape.images, shape.shards)
    sizes = batch_sizes(shape.images, shape.batch_size, SHARD_IMAGES * shards)
    ranks = [epoch(shape, seed, rank) for rank in range(shape.world)]
    assert {len(batches) for batches in ranks} == {len(sizes)} and sizes
    for number, size in enumerate(sizes):
        batch = [label for rank in ranks for label in rank[number]]
        assert len(batch) == size
        for rank in ranks:
            mine = shards // shape.world
            assert all(len(rank[number][shard::mine]) >= SHARD_IMAGES for shard in range(mine))
    seen = [label for rank in ranks for batch in rank for label in batch]
    assert len(seen) == len(set(seen)) == sum(sizes)
    assert shape.images - len(seen) < SHARD_IMAGES * shards
    # One process sees the same images in the same batches, shard by shard.
    alone = epoch(Shape(shape.images, shape.batch_size, shape.shards, 1), seed, 0)
    for rank, batches in enumerate(ranks):
        assert batches == [batch[rank :: shape.world] for batch in alone]


@given(st.integers(1, 500), st.integers(1, 80), st.integers(1, 40))
def test_batches_without_an_edge_are_those_of_before(images: int, batch_size: int, least: int) -> None:
    whole = [len(batch) for batch in torch.arange(images).split(batch_size)]
    assume(whole[-1] == batch_size or whole[-1] >= least)
    assert batch_sizes(images, batch_size, least) == whole


@pytest.mark.parametrize(
    ("images", "batch_size", "shards", "expected"),
    [
        (66, 64, 2, [64]),  # 2 left over for two shards
        (68, 64, 2, [64, 4]),
        (79, 64, 8, [64]),  # 15 left over for eight shards
        (80, 64, 8, [64, 16]),
        (65, 64, 1, [64]),
        (66, 64, 1, [64, 2]),
        (2, 64, 8, [2]),
        (3, 64, 2, [3]),
        (5, 2, 1, [2, 2]),
    ],
)
def test_sizes_at_the_edge(images: int, batch_size: int, shards: int, expected: list[int]) -> None:
    assert batch_sizes(images, batch_size, SHARD_IMAGES * usable_shards(images, shards)) == expected


def test_resuming_within_an_epoch_leaves_the_same_images_out() -> None:
    every = [labels.tolist() for _, labels in split_of(66).batches(16, shuffle_seed=1, least=4)]
    assert [len(batch) for batch in every] == [16] * 4
    assert [
        labels.tolist() for _, labels in split_of(66).batches(16, shuffle_seed=1, least=4, start=3)
    ] == every[3:]
    other = [labels.tolist() for _, labels in split_of(66).batches(16, shuffle_seed=1, epoch=1, least=4)]
    assert set(chain(*every)) != set(chain(*other))  # others sit out the next epoch
