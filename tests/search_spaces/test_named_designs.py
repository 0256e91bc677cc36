"""The designs that anybody would try first: their names are true, and a search begins with the cheap ones."""

from __future__ import annotations

import math

import pytest

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.named_designs import initial_designs, is_plain, named_designs

SPACE = load_declaration("twins_cswin").space("nano", 28, 1, 10)


@pytest.fixture(scope="module")
def named() -> list[tuple[str, Architecture]]:
    return list(named_designs(SPACE))


def operators_of(design: Architecture) -> set[str]:
    return {block.operator for stage in design.stages for block in stage.blocks}


def test_they_are_the_ends_one_operator_throughout_and_the_analogues(
    named: list[tuple[str, Architecture]],
) -> None:
    assert named[0] == ("smallest", SPACE.smallest) and named[1] == ("largest", SPACE.largest)
    one = {origin: design for origin, design in named if " only, " in origin}
    assert set(one) == {
        f"{operator} only, {size}"
        for operator in ("cswin", "dwconv", "gsa", "lsa")  # Refiner is in no first stage of nano
        for size in ("smallest", "middle", "largest")
    }
    for origin, design in one.items():
        assert operators_of(design) == {origin.split(" only")[0]} and SPACE.contains(design)
    for operator in ("cswin", "dwconv", "gsa", "lsa"):
        least, middle, most = (
            costs(one[f"{operator} only, {size}"]).macs for size in ("smallest", "middle", "largest")
        )
        assert abs(middle - math.sqrt(least * most)) < 0.05 * middle
    assert named[-len(analogues(SPACE)) :] == analogues(SPACE)


def test_a_search_begins_with_the_cheap_ones_and_with_each_design_once(
    named: list[tuple[str, Architecture]],
) -> None:
    begun = initial_designs(SPACE)
    origins = [origin for origin, _ in begun]
    # Plain depth-wise convolution is the smallest of all, and is not there twice.
    assert origins[:4] == ["smallest", "cswin only, smallest", "gsa only, smallest", "lsa only, smallest"]
    likes = analogues(SPACE)
    assert begun[4 : 4 + len(likes)] == likes
    assert [origin.rpartition(", ")[2] for origin in origins[4 + len(likes) :]] == ["middle"] * 4 + [
        "largest"
    ] * 5
    assert {design.digest for _, design in begun} == {design.digest for _, design in named}
    assert len({design.digest for _, design in begun}) == len(begun)


def test_what_no_paper_proposed_is_told_from_what_one_did(named: list[tuple[str, Architecture]]) -> None:
    plain = {origin for origin, _ in named if is_plain(origin)}
    assert {origin for origin, _ in named} - plain == {origin for origin, _ in analogues(SPACE)}
    assert is_plain("largest, shrunk") and is_plain("gsa only, middle, shrunk")
    assert not is_plain("cswin-like, shrunk") and not is_plain("swin_tiny")
