"""Widths, heads and sizes of images as choices: how they are declared, and what they make of a space."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture, Stage
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import SpaceError
from search_spaces.widths import WidthChoices
from tests.helpers.space_examples import space
from tests.search_spaces.test_declaration import GOOD


def test_widths_heads_and_sizes_to_choose() -> None:
    text = GOOD.replace("dim: 16, num_heads: 2, depth: 2", "dim: [24, 16], head_dim: [8, 4], depth: 2")
    text = text.replace("images: [16, 32]", "images: [16, 32]\n    image_size: [16, 24, 32]")
    declaration = parse_declaration(text, "demo.yaml")
    assert declaration.space("small").stages[1].widths.pairs == ((16, 4), (16, 2), (24, 6), (24, 3))
    assert declaration.space("small").image_sizes == ((16, 16), (24, 24), (32, 32))
    # Images of 28 px are made smaller, never larger.
    assert declaration.space("small", 28).image_sizes == ((16, 16), (24, 24))
    assert declaration.space("small", 40).image_size == (32, 32)


def test_decisions_are_the_knobs_with_more_than_one_option() -> None:
    decisions = {choice.name: choice.options for choice in space("widths").choices}
    assert decisions["image_size"] == (12, 16)
    assert decisions["stage1.dim"] == (8, 12, 16) and "stage1.head_dim" not in decisions
    assert decisions["stage2.dim"] == (8, 16) and decisions["stage2.num_heads"] == (2, 4)
    fixed = {choice.name for choice in space("skeleton").choices}
    assert not any(name.endswith(("dim", "num_heads", "image_size")) for name in fixed)


def test_size_by_hand() -> None:
    # Sizes, widths and blocks of stage 1; widths, heads, downsamplings, and one or two blocks of stage 2.
    assert space("widths").size == 2 * (3 * 2) * (2 * 2 * 2 * (2 + 2 * 2))


def test_heads_follow_from_the_width_where_head_dim_is_declared() -> None:
    chosen = space("widths")
    values = chosen.values(chosen.smallest)
    for dim, heads in ((8, 2), (12, 3), (16, 4)):
        stage = chosen.assemble({**values, "stage1.dim": dim}).stages[0]
        assert (stage.dim, stage.num_heads) == (dim, heads)


def test_groups_of_heads() -> None:
    assert WidthChoices((8, 16), num_heads=(2, 4)).head_groups == 2
    assert WidthChoices((16, 24), head_dims=(8,)).head_groups == 1  # 2 and 3 heads
    assert WidthChoices((16, 32), head_dims=(4, 8)).head_groups == 2  # 4, 2, 8 and 4
    assert WidthChoices((16, 32), head_dims=(4, 8)).largest == (32, 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": 10}, "stage1 has dim 10, not 8, 12 or 16"),
        ({"num_heads": 1}, "stage1 has num_heads 1, not 2"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, int], said: str) -> None:
    inside = space("widths").smallest
    outside = replace(inside, stages=(replace(inside.stages[0], **changes), *inside.stages[1:]))
    assert space("widths").incompatibility(outside) == said


def test_a_size_that_is_no_choice_is_said() -> None:
    inside = space("widths").smallest
    assert space("widths").incompatibility(replace(inside, image_size=(14, 14))) == (
        "image_size is (14, 14), not (12, 12) or (16, 16)"
    )


def test_both_kinds_of_heads_or_none_are_refused() -> None:
    for heads in ({}, {"num_heads": (2,), "head_dims": (4,)}):
        with pytest.raises(SpaceError, match="either num_heads or head_dim"):
            WidthChoices((8,), **heads)


def test_analogues_take_the_nearest_widths() -> None:
    text, old = load_declaration("twins_cswin").text, "dim: [32, 48, 64, 80]\n        num_heads: 2"
    assert text.count(old) == 1
    text = text.replace(old, "dim: [48, 60, 80]\n        num_heads: [2, 4]")
    wide = parse_declaration(text, "wide").space("tiny")
    found: dict[str, Architecture] = dict(analogues(wide))
    first: Stage = found["cswin-like"].stages[0]
    assert (first.dim, first.num_heads) == (60, 2)  # cswin_tiny has 64 channels and heads of 32
    assert all(wide.contains(design) for design in found.values())


def test_a_part_of_one_size_is_a_space_of_its_own() -> None:
    whole = space("widths")
    part = whole.at_image_size((12, 12))
    assert part.size * 2 == whole.size
    assert part is whole.at_image_size((12, 12)) and part.at_image_size((12, 12)) is part
    for seed in range(20):
        design = part.sample(Random(seed))
        assert design.image_size == (12, 12) and whole.contains(design)
