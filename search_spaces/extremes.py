"""The design of a space whose parts cost most or least in all.

Costs add up over parts and a part's cost depends on the maps at its ends, so the best way on from a map is the same
however it was reached (Bellman 1957, "Dynamic Programming"): exact, without a walk over all skeletons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import part_cost
from search_spaces.enumeration import Sizes, add_sizes, block_part
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.stage_maps import entrances, head_part, next_parts
from search_spaces.walk import Part

if TYPE_CHECKING:
    from search_spaces.space import Space

#: ``(part, style) -> costs``, compared one after the other.
PartSize = Callable[[Part, Style], Sizes]
#: Costs of a design's end, and its stages; the first is without the downsampling that leads to it.
_Tail = tuple[Sizes, tuple[Stage, ...]]


def find_extreme(space: Space, pick: Callable[..., Any], size: PartSize) -> Architecture:
    """Return the design of ``space`` with the least or largest sum of costs over its parts.

    Args:
        space: The space.
        pick: ``min`` or ``max``; of equal designs it takes the first.
        size: Returns the costs of a part, none negative; the first that differs decides.
    """

    @cache
    def tail(index: int, feature_map: FeatureMap) -> _Tail:
        choices = space.stages[index]

        def block_size(block: Block) -> Sizes:
            return size(block_part(index, 0, block, feature_map), space.style)

        first, other = pick(choices.first_blocks, key=block_size), pick(choices.blocks, key=block_size)
        more = pick(choices.depths) - 1
        stage = Stage(feature_map.dim, feature_map.num_heads, (first, *(other,) * more))
        own = add_sizes(block_size(first), tuple(more * cost for cost in block_size(other)))
        if index == len(space.stages) - 1:
            return add_sizes(own, size(head_part(space, feature_map), space.style)), (stage,)
        ways = [
            (add_sizes(size(part, space.style), tail(index + 1, part.feature_map)[0]), part)
            for part in next_parts(space, index + 1, feature_map)
        ]
        costs, part = pick(ways, key=_costs)
        _, (after, *rest) = tail(index + 1, part.feature_map)
        return add_sizes(own, costs), (stage, replace(after, downsample=part.name), *rest)

    designs = []
    for entrance in entrances(space):
        costs, stages = tail(0, entrance.feature_map)
        designs.append((add_sizes(size(entrance.part(space), space.style), costs), (entrance, stages)))
    _, (entrance, stages) = pick(designs, key=_costs)
    return space.with_stages(stages, entrance.stem, entrance.image_size)


def macs_and_params(part: Part, style: Style) -> Sizes:
    """Return the MACs and parameters of a part."""
    cost = part_cost(part, style)
    return cost.macs, cost.params


def _costs(way: tuple[Sizes, Any]) -> Sizes:
    return way[0]
