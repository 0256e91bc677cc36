"""Costs split by what they are spent on, and the best window of the Twins paper."""

from __future__ import annotations

from math import isclose, sqrt
from random import Random

import pytest

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.attention_cost import block_split, pair_cost, window_advice
from search_spaces.cost import stage_costs
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.operators import OPERATORS
from search_spaces.published import PUBLISHED, published
from search_spaces.walk import walk_blocks


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_parts_of_a_stage_sum_to_its_cost(name: str) -> None:
    design = published(name)
    for index, row in enumerate(window_advice(design)):
        assert row.split.total == sum(part.macs for part in stage_costs(design, index))


def test_every_operator_of_a_space_is_split_whole() -> None:
    rng = Random(0)
    # Those that no named space offers.
    others = (
        Block("outlook", (("kernel_size", 3), ("stride", 2))),
        Block("linear", (("kernel_size", 3),)),
        Block("pool", (("pool_size", 3),), "cpe"),
    )
    spaces = [load_declaration(name).space("nano") for name in known_spaces()]
    designs = [space.sample(rng) for space in spaces for _ in range(30)]
    seen = set()
    for design in (*designs, Architecture((Stage(16, 2, others),), (36, 28))):
        for index, row in enumerate(window_advice(design)):
            assert row.split.total == sum(part.macs for part in stage_costs(design, index))
            assert min(row.split.__dict__.values()) >= 0
        seen |= {part.block.operator for part in walk_blocks(design)}
    assert seen == set(OPERATORS)


def test_the_split_of_twins_svt_by_hand() -> None:
    first = window_advice(published("twins_svt_small"))[0]
    tokens, dim = 56 * 56, 64
    assert first.split.local == 2 * tokens * 49 * dim
    assert first.split.globally == 2 * tokens * 7 * 7 * dim
    # LSA: q, k, v and output; GSA: q and output, k and v of 7x7 keys, and the sub-sampling of every position.
    assert first.split.projections == (4 * tokens + 2 * tokens + 2 * 49 + tokens) * dim**2
    assert first.split.mlp == 2 * 2 * tokens * dim * 4 * dim
    assert first.split.rest == 9 * tokens * dim
    assert first.split.convolutions == 0


@pytest.mark.parametrize(("height", "width"), [(56, 56), (28, 28), (40, 60)])
def test_the_optimum_is_where_the_pair_costs_least(height: int, width: int) -> None:
    best = sqrt(height * width)
    least = pair_cost(height, width, 64, best)
    assert all(pair_cost(height, width, 64, k) >= least for k in range(1, height * width + 1))
    # Both halves cost the same there.
    assert isclose(least, 2 * 2 * height * width * 64 * best)


def test_twins_window_is_the_best_whole_one_at_224_px() -> None:
    first = window_advice(published("twins_svt_small"))[0]
    assert first.optimum == 56
    assert round(first.side, 2) == 7.48
    assert (first.windows, first.ratios) == ((49,), (64,))
    assert first.excess is not None
    assert 1 < first.excess < 1.01
    best = min(range(1, 57), key=lambda k: pair_cost(56, 56, 64, k * k))
    assert best == 7


def test_stages_without_a_pair_have_no_excess_and_stripes_count_as_windows() -> None:
    rows = window_advice(published("cswin_tiny"))
    assert [row.windows for row in rows] == [(56,), (56,), (98,), ()]
    assert all(row.excess is None for row in rows)
    assert rows[3].split.local == 0 < rows[3].split.globally


def test_a_window_too_large_costs_more_than_the_best() -> None:
    blocks = (Block("lsa", (("window_size", 28),)), Block("gsa", (("sr_ratio", 1),)))
    (row,) = window_advice(Architecture((Stage(8, 1, blocks),), (112, 112)))
    assert row.excess is not None
    # 784 positions a window where 28 are best.
    assert row.excess == pytest.approx((784 / 28 + 28 / 784) / 2)


def test_a_blocks_split_holds_its_convolutions() -> None:
    design = published("dwnet_tiny")
    first = walk_blocks(design)[0]
    split = block_split(first.block, stage_costs(design, 0)[0], first.feature_map)
    assert split.convolutions == 49 * first.feature_map.tokens * first.feature_map.dim
    assert (split.local, split.globally) == (0, 0)
    assert first.name == "stage1.block1"
