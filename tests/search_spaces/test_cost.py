"""Costs: against sums done by hand here; against counted networks in ``test_published`` and ``supernet``."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import block_cost, costs, part_cost, stage_costs
from search_spaces.operators import Cost, FeatureMap
from search_spaces.skeleton import Style
from search_spaces.walk import walk
from tests.helpers.space_examples import mixed

GSA = Block("gsa", (("sr_ratio", 1),), mlp_ratio=2)

# 8x8 px -> a 4x4 map of 8 channels, 16 positions.
ONE = Architecture((Stage(8, 2, (GSA,)),), (8, 8), num_classes=5, stem="conv3x3_s2")


def test_a_network_by_hand() -> None:
    stem = (16 * 27 * 8, 27 * 8 + 8 + 2 * 8)
    attention = (4 * 16 * 8 * 8 + 2 * 16 * 16 * 8, 4 * (8 * 8 + 8))
    mlp = (2 * 16 * 8 * 16, 8 * 16 + 16 + 16 * 8 + 8)
    norms = (0, 2 * 2 * 8)
    head = (8 * 5, 2 * 8 + 8 * 5 + 5)
    found = costs(ONE)
    assert (found.macs, found.params) == tuple(map(sum, zip(stem, attention, mlp, norms, head, strict=True)))
    assert (found.macs, found.params) == (15_784, 901)


@pytest.mark.parametrize(
    ("block", "macs", "params"),
    [
        # 7x7 positions of 12 channels, 2 heads; what the operator and its encoding add to MLP and norms.
        (Block("lsa", (("window_size", 7),)), 4 * 49 * 144 + 2 * 49 * 49 * 12, 4 * 144 + 48),
        # Windows of 4 pad to 8x8 before qkv; the output projection sees 7x7.
        (Block("lsa", (("window_size", 4),)), 64 * 432 + 2 * 64 * 16 * 12 + 49 * 144, 4 * 144 + 48),
        (
            Block("lsa", (("window_size", 7),), "rpe"),
            4 * 49 * 144 + 2 * 49 * 49 * 12,
            4 * 144 + 48 + 13 * 13 * 2,
        ),
        (Block("lsa", (("window_size", 7),), "ape"), 4 * 49 * 144 + 2 * 49 * 49 * 12, 4 * 144 + 48 + 49 * 12),
        (
            Block("lsa", (("window_size", 7),), "cpe"),
            4 * 49 * 144 + 2 * 49 * 49 * 12 + 9 * 49 * 12,
            4 * 144 + 168,
        ),
        # Sub-sampling by 2 leaves 3x3 keys, made by a 2x2 convolution and its LayerNorm.
        (
            Block("gsa", (("sr_ratio", 2),)),
            2 * 49 * 144 + 9 * 288 + 2 * 49 * 9 * 12 + 9 * 4 * 144,
            4 * 144 + 48 + 4 * 144 + 12 + 24,
        ),
        # Stripes as wide as the map are one branch of full attention.
        (Block("cswin", (("stripe_width", 7),)), 4 * 49 * 144 + 2 * 49 * 49 * 12, 4 * 144 + 48),
        (Block("cswin", (("stripe_width", 1),)), 4 * 49 * 144 + 2 * 49 * 7 * 12, 4 * 144 + 48),
        (
            Block("dwconv", (("kernel_size", 3), ("dynamic", "none"))),
            2 * 49 * 144 + 49 * 9 * 12,
            2 * 144 + 6 * 12 + 9 * 12 + 12,
        ),
    ],
    ids=str,
)
def test_blocks_by_hand(block: Block, macs: int, params: int) -> None:
    mlp = Cost(2 * 49 * 12 * 48, 12 * 48 + 48 + 48 * 12 + 12)
    found = block_cost(block, FeatureMap(12, 2, 7, 7), Style())
    assert found.macs == macs + mlp.macs
    assert found.params == params + mlp.params + 2 * 2 * 12


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_the_whole_is_the_sum_of_its_parts(seed: int) -> None:
    architecture = mixed().sample(Random(seed))
    stem, *_, head = walk(architecture)
    parts = [part_cost(stem, architecture.style), part_cost(head, architecture.style)]
    for index in range(len(architecture.stages)):
        parts += stage_costs(architecture, index)
    found = costs(architecture)
    assert found.macs == sum(part.macs for part in parts)
    assert found.params == sum(part.params for part in parts)
    assert found.activation_bytes == 4 * max(part.working for part in parts)
    assert found.activation_bytes >= 4 * 2 * 14 * 14 * 32  # at least a map and its copy


def test_a_downsampling_is_the_stage_s_first_part() -> None:
    two = replace(ONE, stages=(*ONE.stages, Stage(16, 2, (GSA,), "conv2x2")))
    down, block = stage_costs(two, 1)
    assert (down.macs, down.params) == (4 * 4 * 8 * 16, 4 * 8 * 16 + 16 + 2 * 16)
    assert block == block_cost(GSA, two.feature_map(1), two.style)
    merging = replace(ONE, stages=(*ONE.stages, Stage(16, 2, (GSA,), "merging")))
    down, _ = stage_costs(merging, 1)
    assert (down.macs, down.params) == (4 * 4 * 8 * 16, 4 * 8 * 16 + 2 * 4 * 8)


def test_style_changes_parameters() -> None:
    def params(style: Style) -> int:
        return costs(replace(ONE, style=style)).params

    assert params(Style()) - params(Style(qkv_bias=False)) == 3 * 8
    assert params(Style()) - params(Style(mixer_norm="none")) == 2 * 8
    assert params(Style()) == params(Style(mlp_norm="batch")) == params(Style(norm_eps=1e-5))


def test_parameters_do_not_depend_on_the_images_unless_positions_are_learned() -> None:
    larger = replace(ONE, image_size=(16, 16))
    assert costs(larger).params == costs(ONE).params
    assert costs(larger).macs > 4 * costs(ONE).macs - 4 * 40
    learned = replace(ONE, stages=(Stage(8, 2, (replace(GSA, pos="ape"),)),))
    assert costs(replace(learned, image_size=(16, 16))).params - costs(learned).params == 48 * 8
