"""Which designs of a space are trained alone beside those with names: some, evenly over the MACs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from random import Random

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space

#: Draws for each design that is wanted, after which parts of the MACs that hardly any design has are left as they are.
_DRAWS = 200


def sample_evenly(
    space: Space, rng: Random, count: int, bins: int = 10
) -> Iterator[tuple[str, Architecture]]:
    """Yield ``(origin, design)`` of distinct designs, equally many from each of ``bins`` parts of the MACs.

    The parts are equal on a logarithmic scale. They take turns, so that every beginning is even too; where a part has
    too few designs, as the ends may have, the others go on.

    Args:
        space: The space.
        rng: What decides.
        count: Designs to yield.
        bins: Parts.
    """
    least, most = costs(space.smallest).macs, costs(space.largest).macs
    drawn: list[list[Architecture]] = [[] for _ in range(bins)]
    seen: set[Architecture] = set()
    wanted = math.ceil(count / bins)
    for _ in range(_DRAWS * count):
        if sum(min(len(each), wanted) for each in drawn) >= count:
            break
        design = _draw(space, rng, least, most)
        # Where all designs cost the same, there is one part.
        position = math.log(costs(design).macs / least) / (math.log(most / least) or 1.0)
        if design not in seen:
            seen.add(design)
            drawn[min(bins - 1, int(position * bins))].append(design)
    turns = chain.from_iterable(
        ((number, each[turn]) for number, each in enumerate(drawn) if turn < len(each))
        for turn in range(count)
    )
    for (number, design), _ in zip(turns, range(count), strict=False):
        low, high = (least * (most / least) ** ((number + end) / bins) for end in (0, 1))
        yield f"{low / 1e6:.2f}-{high / 1e6:.2f}M MACs", design


def _draw(space: Space, rng: Random, least: float, most: float) -> Architecture:
    """Draw a design around MACs that are drawn evenly on a logarithmic scale."""
    wanted = least * (most / least) ** rng.random()
    return space.cost_tilting.sample_near(rng, wanted)
