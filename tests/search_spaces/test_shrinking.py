"""A design that is shrunk fits, and nothing that it gave up could have stayed."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.shrinking import shrink
from tests.helpers.space_examples import mixed

SPACE = mixed()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.floats(0, 1), st.booleans())
def test_a_shrunk_design_fits_and_is_as_large_as_it_can_be(seed: int, share: float, ordered: bool) -> None:
    design = SPACE.sample(Random(seed))
    least, most = costs(SPACE.smallest).macs, costs(SPACE.largest).macs
    limit = least + share * (most - least)

    def fits(candidate: Architecture) -> bool:
        return costs(candidate).macs <= limit

    rng = None if ordered else Random(seed)
    shrunk = shrink(SPACE, design, SPACE.smallest, fits, rng)
    assert fits(shrunk) and SPACE.contains(shrunk)
    assert shrunk == design or not fits(design)
    assert shrink(SPACE, design, SPACE.smallest, fits, None if ordered else Random(seed)) == shrunk


def test_analogues_keep_their_operators_longer_than_their_depth() -> None:
    limit = 1.5 * costs(SPACE.smallest).macs
    for _, design in analogues(SPACE):
        shrunk = shrink(SPACE, design, SPACE.smallest, lambda one: costs(one).macs <= limit)
        assert costs(shrunk).macs <= limit
        if costs(design).macs > limit:
            assert shrunk != SPACE.smallest
