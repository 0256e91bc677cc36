"""The walk over an architecture, against parts written by hand."""

from __future__ import annotations

import pickle
import timeit
from dataclasses import replace

import pytest

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.operators import FeatureMap
from search_spaces.published import PUBLISHED, published
from search_spaces.skeleton import Style
from search_spaces.walk import BlockPart, DownsamplePart, HeadPart, StemPart, walk, walk_blocks

LSA, GSA = Block("lsa", (("window_size", 2),)), Block("gsa", (("sr_ratio", 1),), "cpe", 2)
PLAIN = Block("refiner", (("maps", "plain"),))
SHARED = Block("refiner", (("maps", "shared"), ("expand_ratio", 2), ("kernel_size", 3)))


def test_parts_of_stages_with_downsamplings() -> None:
    # 29 x 20 px -> 15 x 10 by a strided convolution -> 8 x 5 by merging, which pads -> 4 x 2 by 2x2.
    design = Architecture(
        (Stage(8, 2, (LSA, GSA)), Stage(12, 3, (GSA,), "merging"), Stage(16, 4, (LSA,), "conv2x2")),
        (29, 20),
        in_channels=1,
        num_classes=7,
        stem="conv3x3_s2",
        style=Style(qkv_bias=False),
    )
    first, second, third = (
        FeatureMap(8, 2, 15, 10, qkv_bias=False),
        FeatureMap(12, 3, 8, 5, qkv_bias=False),
        FeatureMap(16, 4, 4, 2, qkv_bias=False),
    )
    assert list(walk(design)) == [
        StemPart("conv3x3_s2", 1, (29, 20), first),
        BlockPart(0, 0, LSA, first, False, False),
        BlockPart(0, 1, GSA, first, False, False),
        DownsamplePart(1, "merging", first, second),
        BlockPart(1, 0, GSA, second, False, False),
        DownsamplePart(2, "conv2x2", second, third),
        BlockPart(2, 0, LSA, third, False, False),
        HeadPart(third, 7),
    ]
    assert [part.name for part in walk_blocks(design)] == [
        "stage1.block1",
        "stage1.block2",
        "stage2.block1",
        "stage3.block1",
    ]


def test_parts_of_a_sequence_that_shares_attention_maps() -> None:
    style = Style(head="token")
    design = Architecture((Stage(8, 2, (PLAIN, SHARED, SHARED, PLAIN)),), (16, 16), 3, 5, "patch4x4", style)
    feature_map = FeatureMap(8, 2, 4, 4, class_token=True)
    assert feature_map.tokens == 17
    assert list(walk(design)) == [
        StemPart("patch4x4", 3, (16, 16), feature_map),
        BlockPart(0, 0, PLAIN, feature_map, False, True),
        BlockPart(0, 1, SHARED, feature_map, True, True),
        BlockPart(0, 2, SHARED, feature_map, True, False),
        BlockPart(0, 3, PLAIN, feature_map, False, False),
        HeadPart(feature_map, 5),
    ]
    assert [part.shares_attention for part in walk_blocks(design)] == [True, True, True, False]


def test_attention_maps_do_not_cross_stages() -> None:
    stages = (Stage(8, 2, (PLAIN,)), Stage(8, 2, (PLAIN, SHARED), "conv2x2"))
    parts = walk_blocks(Architecture(stages, (32, 32)))
    assert [part.returns_attention for part in parts] == [False, True, False]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_walk_passes_every_block_on_the_map_of_its_stage(name: str) -> None:
    design = published(name)
    blocks = [(i, j, block) for i, stage in enumerate(design.stages) for j, block in enumerate(stage.blocks)]
    assert [(part.stage, part.index, part.block) for part in walk_blocks(design)] == blocks
    assert all(part.feature_map == design.feature_map(part.stage) for part in walk_blocks(design))


def test_asking_again_costs_nothing_and_changes_nothing() -> None:
    design = published("refiner_vit_large")
    assert walk(design) is walk(design)
    assert min(timeit.repeat(lambda: walk(design), number=1000, repeat=5)) / 1000 < 20e-6
    again = pickle.loads(pickle.dumps(design))
    assert (again, hash(again), again.digest) == (design, hash(design), design.digest)
    assert walk(again) == walk(design)
    # Another architecture has its own parts.
    assert walk(replace(design, num_classes=3))[-1] == HeadPart(design.feature_map(0), 3)
