"""Every design once, or every one within limits; the smallest by any cost is the smallest of all."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from search_spaces.cost import costs, part_cost
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.enumeration import Sizes, WalkTooLong, Within
from search_spaces.errors import SpaceError
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.walk import Part
from tests.helpers.space_examples import TEXTS, all_architectures, mixed, space

relaxed = settings(deadline=None, max_examples=40)


def some(options: list[str]) -> st.SearchStrategy[str]:
    """Draw a YAML list of some options in any order."""
    chosen = st.lists(st.sampled_from(options), min_size=1, max_size=len(options), unique=True)
    return chosen.map(lambda names: f"[{', '.join(names)}]")


@st.composite
def small_spaces(draw: st.DrawFn) -> Space:
    """Draw a space of one or two stages with any of the operators and skeletons."""
    maps = draw(some(["refined", "plain", "previous", "shared"]))
    operators = {
        "lsa": f"{{window_size: {draw(some(['2', '4']))}, pos: {draw(some(['none', 'rpe', 'cpe']))}}}",
        "dwconv": f"{{kernel_size: {draw(some(['3', '5']))}, dynamic: {draw(some(['none', 'homogeneous']))}}}",
        "refiner": f"{{expand_ratio: {draw(some(['2', '3']))}, kernel_size: 3, maps: {maps}}}",
    }
    names = draw(st.lists(st.sampled_from(sorted(operators)), min_size=1, unique=True))
    if (
        "previous" in maps or "shared" in maps
    ):  # blocks that take the maps of the one before go with no others
        names = ["refiner"]
    chosen = "\n".join(f"    {name}: {operators[name]}" for name in names)
    downsamples = draw(some(["conv2x2", "conv3x3", "merging"]))
    second = f"\n      - {{dim: 16, num_heads: 2, depth: 1, downsample: {downsamples}}}"
    text = f"""
name: drawn
blocks:
  mlp_ratio: {draw(some(["1", "2"]))}
  operators:
{chosen}
scales:
  one:
    images: 32
    stem: {draw(some(["patch4x4", "conv7x7_s4", "conv3x3_s2"]))}
    stages:
      - {{dim: 8, num_heads: 2, depth: {draw(some(["1", "2"]))}}}{draw(st.sampled_from(["", second]))}
"""
    try:
        drawn = parse_declaration(text, "drawn").space(None, 32, 1, 4)
    except SpaceError:  # no first block without maps to take
        reject()
    assume(drawn.size <= 3_000)
    return drawn


def sizes_of(part: Part, style: Style) -> Sizes:
    cost = part_cost(part, style)
    return cost.macs, cost.params


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_all_designs_of_a_space(name: str) -> None:
    designs = list(space(name).enumerate())
    assert {design.digest for design in designs} == set(all_architectures(name))
    assert len(designs) == space(name).size


@relaxed
@given(small_spaces())
def test_each_design_once(drawn: Space) -> None:
    designs = list(drawn.enumerate())
    assert len(designs) == len({design.digest for design in designs}) == drawn.size
    assert all(drawn.contains(design) for design in designs)
    assert [design.digest for design in drawn.enumerate()] == [design.digest for design in designs]


@relaxed
@given(small_spaces(), st.floats(0, 1), st.floats(0, 1))
def test_within_limits_are_those_that_keep_them(drawn: Space, one: float, other: float) -> None:
    known = {design.digest: costs(design) for design in drawn.enumerate()}
    macs, params = (
        sorted(values) for values in zip(*((c.macs, c.params) for c in known.values()), strict=True)
    )
    limits = (macs[int(one * (len(macs) - 1))], params[int(other * (len(params) - 1))])
    found = [design.digest for design in drawn.enumerate(Within(sizes_of, limits))]
    assert len(found) == len(set(found))
    assert set(found) == {
        digest for digest, c in known.items() if c.macs <= limits[0] and c.params <= limits[1]
    }
    just_below = Within(lambda part, style: sizes_of(part, style)[:1], (macs[0] - 1,))
    assert not list(drawn.enumerate(just_below))


@relaxed
@given(small_spaces())
def test_the_cheapest_by_any_cost(drawn: Space) -> None:
    known = [costs(design) for design in drawn.enumerate()]
    assert costs(drawn.smallest).macs == min(c.macs for c in known)
    assert costs(drawn.cheapest(lambda part, style: part_cost(part, style).params)).params == min(
        c.params for c in known
    )
    both = drawn.cheapest(lambda part, style: sum(sizes_of(part, style)))
    assert costs(both).macs + costs(both).params == min(c.macs + c.params for c in known)


def test_it_is_lazy_and_a_walk_has_an_end() -> None:
    large = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    assert len({design.digest for design in islice(large.enumerate(), 500)}) == 500
    few = Within(sizes_of, (1e12, 1e12), most_steps=10)
    with pytest.raises(WalkTooLong):
        list(mixed().enumerate(few))
    # Under a single limit nothing is looked at in vain: the first design is one step a block away.
    first = Within(
        lambda part, style: sizes_of(part, style)[:1], (costs(large.smallest).macs,), most_steps=500
    )
    assert costs(next(large.enumerate(first))).macs == costs(large.smallest).macs


def test_parts_of_one_operator() -> None:
    for part in mixed().with_one_operator():
        design = part.smallest
        assert mixed().contains(design)
        assert len({block.operator for stage in design.stages for block in stage.blocks}) == 1
