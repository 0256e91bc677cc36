"""A found design beside published ones: what differs is named choice by choice, and counted."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from nas.insight.comparison import NOTHING, compare_with_nearest
from search_spaces.analogues import analogues
from search_spaces.architecture import Block
from search_spaces.declaration import load_declaration, parse_declaration
from tests.helpers.studies import SPACE

NANO = load_declaration("twins_cswin").space("nano", 28, 1, 10)


def test_a_published_design_is_nearest_to_itself() -> None:
    for name, design in analogues(NANO):
        compared = compare_with_nearest(design, NANO)
        assert compared is not None and (compared.name, compared.differences) == (name, [])


def test_every_difference_is_named() -> None:
    known = dict(analogues(NANO))
    design = known["twins_svt-like"]
    stage = design.stages[0]
    changed = replace(
        stage,
        blocks=(Block("dwconv", (("kernel_size", 5), ("dynamic", "none")), "none", 2), *stage.blocks[1:]),
    )
    found = replace(design, stages=(changed, *design.stages[1:]))
    compared = compare_with_nearest(found, NANO)
    assert compared is not None and compared.name == "twins_svt-like"
    first, second = stage.blocks
    assert (first.operator, second.operator) == ("lsa", "gsa")
    table = {(each.stage, each.choice): (each.published, each.found) for each in compared.differences}
    assert table == {
        (1, "operator"): ("lsa, gsa", "dwconv, gsa"),
        (1, "encoding"): (f"{first.pos}, {second.pos}", "none"),
        (1, "MLP ratio"): ("4", f"2, {second.mlp_ratio:g}"),
        (1, "lsa's window_size"): (str(first.knob("window_size")), NOTHING),
        (1, "dwconv's dynamic"): (NOTHING, "none"),
        (1, "dwconv's kernel_size"): (NOTHING, "5"),
    }
    assert len(compared.choices) > len(compared.differences) + 10
    assert compared.to_json()["choices"] == len(compared.choices)


def test_any_design_of_a_space_can_be_compared() -> None:
    rng = Random(0)
    for _ in range(5):
        compared = compare_with_nearest(NANO.sample(rng), NANO)
        assert compared is not None and compared.choices


def test_a_space_of_no_paper_has_nothing_to_compare_with() -> None:
    text = SPACE.replace(
        "lsa: {window_size: [2], pos: [none, rpe]}", "pool: {pool_size: [3], pos: [none]}"
    ).replace("dwconv: {kernel_size: [3], dynamic: [none], pos: [none, cpe]}", "")
    space = parse_declaration(text, "pool").space("only", 8, 1, 2)
    assert compare_with_nearest(space.smallest, space) is None
