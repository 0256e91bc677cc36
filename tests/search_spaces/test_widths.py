"""Widths, heads and sizes of images as choices: how they are declared, and what they make of a space."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import SpaceError
from search_spaces.published import published
from search_spaces.widths import CombinedWidths, ListedWidths
from tests.helpers.space_examples import LISTED, space
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
    assert CombinedWidths((8, 16), num_heads=(2, 4)).head_groups == 2
    assert CombinedWidths((16, 24), head_dims=(8,)).head_groups == 1  # 2 and 3 heads
    assert CombinedWidths((16, 32), head_dims=(4, 8)).head_groups == 2  # 4, 2, 8 and 4
    assert CombinedWidths((16, 32), head_dims=(4, 8)).largest == (32, 8)


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
            CombinedWidths((8,), **heads)


def test_listed_widths_are_one_decision() -> None:
    chosen = space("listed")
    first, second = (stage.widths for stage in chosen.stages)
    assert first.pairs == ((8, 4), (12, 6), (16, 2), (16, 4)) and second.pairs == ((20, 5),)
    options = ("dim8_heads4", "dim12_heads6", "dim16_heads2", "dim16_heads4")
    assert {choice.name: choice.options for choice in chosen.choices if "width" in choice.name} == {
        "stage1.width": options
    }
    assert not any(choice.name.endswith(("dim", "num_heads")) for choice in chosen.choices)
    # Widths and blocks of stage 1; downsamplings, and one or two blocks of stage 2.
    assert chosen.size == (4 * 2) * (2 * (2 + 2 * 2))
    for option, pair in zip(options, first.pairs, strict=True):
        design = chosen.assemble({**chosen.values(chosen.smallest), "stage1.width": option})
        assert (design.stages[0].dim, design.stages[0].num_heads) == pair
        assert chosen.values(design)["stage1.width"] == option


def test_the_order_in_which_widths_are_listed_does_not_matter() -> None:
    turned = LISTED.replace(
        "{dim: 16, num_heads: 2}, {dim: 8, head_dim: 2}", "{dim: 8, num_heads: 4}, {dim: 16, head_dim: 8}"
    )
    assert turned != LISTED
    assert parse_declaration(turned, "turned").space().digest == space("listed").digest
    other = LISTED.replace("dim: 20, num_heads: 5", "dim: 20, num_heads: 4")
    assert parse_declaration(other, "other").space().digest != space("listed").digest


def test_listed_widths_are_drawn_and_changed_as_wholes() -> None:
    chosen, pairs = space("listed"), space("listed").stages[0].widths.pairs
    for way in ("choices", "architectures"):
        counts = Counter(pair_of(chosen.sample(Random(seed), way)) for seed in range(400))
        assert set(counts) == set(pairs) and min(counts.values()) > 70
    start = chosen.smallest
    mutants = {pair_of(chosen.mutate(start, Random(seed), 0.5)) for seed in range(60)}
    assert mutants == set(pairs)
    others = {
        pair_of(neighbour)
        for neighbour in chosen.neighbours(start)
        if neighbour.stages[0].blocks == start.stages[0].blocks and neighbour.stages[1] == start.stages[1]
    }
    assert others == set(pairs) - {pair_of(start)}


def pair_of(design: Architecture) -> tuple[int, int]:
    return design.stages[0].dim, design.stages[0].num_heads


def test_listed_widths_in_numbers() -> None:
    listed = ListedWidths(((24, 2), (16, 8), (8, 4), (24, 4)))
    assert listed.largest == (24, 8) and listed.head_groups == 2 and listed.dims == (8, 16, 24)
    # 8 channels have no more heads than 16 have.
    assert listed.widest.pairs == ((16, 8), (24, 2), (24, 4))
    assert CombinedWidths((8, 16), num_heads=(2, 4)).widest.pairs == ((16, 2), (16, 4))
    assert CombinedWidths((8, 16), head_dims=(4, 8)).widest.pairs == ((16, 2), (16, 4))


def test_a_declaration_can_be_read_back_from_what_is_said_of_it() -> None:
    assert space("listed").stages[1].widths.to_json() == {"width": [{"dim": 20, "num_heads": 5}]}
    assert [stage.widths.to_json() for stage in space("widths").stages] == [
        {"dim": [8, 12, 16], "head_dim": [4]},
        {"dim": [8, 16], "num_heads": [2, 4]},
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": 10}, "stage1 has dim 10, not 8, 12 or 16"),
        ({"dim": 12, "num_heads": 4}, "stage1 has num_heads 4, not 6"),
        ({"dim": 16, "num_heads": 8}, "stage1 has num_heads 8, not 2 or 4"),
    ],
)
def test_what_is_not_listed_is_said(changes: dict[str, int], said: str) -> None:
    inside = space("listed").smallest
    outside = replace(inside, stages=(replace(inside.stages[0], **changes), *inside.stages[1:]))
    assert space("listed").incompatibility(outside) == said


MALFORMED = [
    (
        "heads that do not divide their width",
        "width: [{dim: 16, num_heads: 2}, {dim: 18, num_heads: 4}]",
        ["scales.small.stages[2].width[2].num_heads does not fit: dim 18 cannot be divided into 4 heads"],
    ),
    (
        "a head_dim that does not divide its width",
        "width: [{dim: 16, head_dim: 6}]",
        [
            "scales.small.stages[2].width[1].head_dim does not fit: dim 16 cannot be divided into heads of 6 channels"
        ],
    ),
    (
        "a width and a dim",
        "width: [{dim: 16, num_heads: 2}], num_heads: 2",
        ["scales.small.stages[2] has both width and num_heads", "num_heads belongs into each width"],
    ),
    (
        "a width without heads",
        "width: [{dim: 16}]",
        ["scales.small.stages[2].width[1] lacks the key 'num_heads'"],
    ),
    (
        "a width without a dim",
        "width: [{num_heads: 2}]",
        ["scales.small.stages[2].width[1] lacks the key 'dim'"],
    ),
    (
        "a width of two numbers",
        "width: [[16, 2]]",
        ["scales.small.stages[2].width[1] must be a mapping with dim, not [16, 2]"],
    ),
    (
        "a width of several",
        "width: [{dim: [16, 24], num_heads: 2}]",
        ["stages[2].width[1].dim must be one positive integer, not [16, 24]"],
    ),
    (
        "a width twice",
        "width: [{dim: 16, num_heads: 2}, {dim: 16, head_dim: 8}]",
        ["scales.small.stages[2].width dim 16 with 2 heads is offered twice"],
    ),
    (
        "an unknown key of a width",
        "width: [{dim: 16, heads: 2}]",
        ["stages[2].width[1] has an unknown key 'heads'", "did you mean"],
    ),
    (
        "no width",
        "width: []",
        ["scales.small.stages[2].width must offer at least one option"],
    ),
]


@pytest.mark.parametrize(("given", "said"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_widths(given: str, said: list[str]) -> None:
    text = GOOD.replace("dim: 16, num_heads: 2, depth: 2", f"{given}, depth: 2")
    assert text != GOOD
    with pytest.raises(SpaceError) as caught:
        parse_declaration(text, "demo.yaml")
    message = str(caught.value)
    assert message.startswith("demo.yaml: ") and "\n" not in message
    for part in said:
        assert part in message


def test_no_width_or_one_twice_is_refused() -> None:
    with pytest.raises(SpaceError, match="at least one width"):
        ListedWidths(())
    with pytest.raises(SpaceError, match="dim 8 with 1 head is offered twice"):
        ListedWidths(((8, 1), (16, 2), (8, 1)))


def test_a_budget_may_change_listed_widths_of_a_family() -> None:
    chosen = space("listed")
    found = [
        chosen.closest(budget, like=published("dwnet_tiny"))
        for budget in (costs(chosen.smallest).macs, costs(chosen.largest).macs)
    ]
    assert [{block.operator for stage in each.stages for block in stage.blocks} for each in found] == [
        {"dwconv"}
    ] * 2
    assert [each.stages[0].dim for each in found] == [8, 16]


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
