"""Every design of a space, or every one within limits on costs that add up over its parts.

MACs, parameters and latencies from a table are sums over parts, and a part's cost depends on its own choices and
on the map that stem and downsamplings give it, never on the other blocks. So the least that the rest of a design
can cost is known at every step of the walk below, and whatever cannot come within the limits is left out at once
(Land and Doig 1960, "An automatic method of solving discrete programming problems": branch and bound). Under a
single limit that bound is reached: every branch that is entered leads to a design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.stage_maps import Route, entrances, head_part, next_parts
from search_spaces.walk import BlockPart, Part

if TYPE_CHECKING:
    from search_spaces.choices import StageChoices
    from search_spaces.space import Space

_ROUNDING = 1e-9  # share of a limit by which sums of the same numbers in another order may differ

Sizes = tuple[float, ...]
#: Costs of a part, one for each limit; none is negative.
PartSizes = Callable[[Part, Style], Sizes]


class WalkTooLong(Exception):
    """More was looked at than the caller allowed."""


@dataclass(frozen=True)
class Within:
    """Limits on costs that add up over the parts of a design.

    Args:
        part_sizes: Returns the limited costs of a part.
        limits: Largest sum of each.
        most_steps: Blocks to look at before giving up; None for no end.
    """

    part_sizes: PartSizes = lambda part, style: ()
    limits: Sizes = ()
    most_steps: int | None = None


def enumerate_designs(space: Space, within: Within) -> Iterator[Architecture]:
    """Yield every design of ``space`` within limits exactly once; cheap blocks come before dear ones.

    Sums are those of floats in the order of the walk: a design on a limit to the last bits is yielded.

    Raises:
        WalkTooLong: If more steps were taken than allowed; with several limits a walk can lead nowhere.
    """
    return _Walk(space, within).designs()


class _Walk:
    """The designs of a space within limits, skeleton after skeleton.

    Args:
        space: The space.
        within: The limits.
    """

    def __init__(self, space: Space, within: Within) -> None:
        self.space, self.within, self.steps = space, within, 0
        self.bounds = tuple(limit * (1 + _ROUNDING) for limit in within.limits)
        self.options = cache(
            lambda index, feature_map: _StageOptions(
                index, space.stages[index], feature_map, within, space.style
            )
        )
        self.least_from = cache(self._least_from)

    def designs(self) -> Iterator[Architecture]:
        """Yield the designs within the limits."""
        for entrance in entrances(self.space):
            spent = self._size(entrance.part(self.space))
            yield from self._skeletons(Route(entrance), spent, (0.0,) * len(self.bounds))

    def _skeletons(self, route: Route, fixed: Sizes, blocks: Sizes) -> Iterator[Architecture]:
        """Yield the designs that begin with a route.

        Args:
            route: Their first stages.
            fixed: What stem and downsamplings so far cost.
            blocks: What the blocks of all stages before the last one cost at least.
        """
        index, feature_map = len(route.steps), route.feature_maps[-1]
        if not self._may_fit(add_sizes(fixed, blocks), self.least_from(index, feature_map)):
            return
        if index == len(self.space.stages) - 1:
            yield from self._designs_of(
                route, add_sizes(fixed, self._size(head_part(self.space, feature_map)))
            )
            return
        blocks = add_sizes(blocks, self.options(index, feature_map).least)
        for part in next_parts(self.space, index + 1, feature_map):
            longer = Route(route.entrance, (*route.steps, part))
            yield from self._skeletons(longer, add_sizes(fixed, self._size(part)), blocks)

    def _least_from(self, index: int, feature_map: FeatureMap) -> Sizes:
        """Return what the blocks of a stage on a map and everything after them cost at least."""
        own = self.options(index, feature_map).least
        if index == len(self.space.stages) - 1:
            return add_sizes(own, self._size(head_part(self.space, feature_map)))
        ways = (
            add_sizes(self._size(part), self.least_from(index + 1, part.feature_map))
            for part in next_parts(self.space, index + 1, feature_map)
        )
        return add_sizes(own, _least(list(ways)))

    def _size(self, part: Part) -> Sizes:
        return self.within.part_sizes(part, self.space.style)

    def _designs_of(self, route: Route, fixed: Sizes) -> Iterator[Architecture]:
        """Yield the designs of one skeleton, whose parts other than blocks cost ``fixed``."""
        stages = [self.options(index, feature_map) for index, feature_map in enumerate(route.feature_maps)]
        # What all stages from each one on cost at least, so that the last entry is nothing.
        rest = [(0.0,) * len(self.bounds)]
        for options in reversed(stages):
            rest.insert(0, add_sizes(options.least, rest[0]))

        def complete(index: int, spent: Sizes) -> Iterator[tuple[Stage, ...]]:
            """Yield the stages from ``index`` on that can follow parts that cost ``spent``."""
            if index == len(stages):
                yield ()
                return
            options, feature_map = stages[index], route.feature_maps[index]
            for depth in sorted(options.choices.depths):
                for blocks, total in self._blocks(options, depth, (), spent, rest[index + 1]):
                    stage = Stage(feature_map.dim, feature_map.num_heads, blocks, route.downsamples[index])
                    for others in complete(index + 1, total):
                        yield (stage, *others)

        for design in complete(0, fixed):
            yield self.space.with_stages(design, route.entrance.stem, route.entrance.image_size)

    def _blocks(
        self, options: _StageOptions, depth: int, blocks: tuple[Block, ...], spent: Sizes, after: Sizes
    ) -> Iterator[tuple[tuple[Block, ...], Sizes]]:
        """Yield ``(blocks, cost so far)`` of a stage of ``depth`` blocks that begins with ``blocks``."""
        missing = depth - len(blocks)
        if not missing:
            yield blocks, spent
            return
        rest = add_sizes(options.least_of_others(missing - 1), after)
        for block, sizes in options.others if blocks else options.firsts:
            self.steps += 1
            if self.within.most_steps is not None and self.steps > self.within.most_steps:
                raise WalkTooLong
            total = add_sizes(spent, sizes)
            if self._may_fit(total, rest):
                yield from self._blocks(options, depth, (*blocks, block), total, after)

    def _may_fit(self, spent: Sizes, rest: Sizes) -> bool:
        return all(a + b <= bound for a, b, bound in zip(spent, rest, self.bounds, strict=True))


class _StageOptions:
    """The blocks that a stage may have on one map, with their costs, cheap ones first."""

    def __init__(
        self, index: int, choices: StageChoices, feature_map: FeatureMap, within: Within, style: Style
    ) -> None:
        self.choices = choices

        def priced(blocks: Sequence[Block], position: int) -> list[tuple[Block, Sizes]]:
            sizes = [
                within.part_sizes(block_part(index, position, block, feature_map), style) for block in blocks
            ]
            pairs = zip(blocks, sizes, strict=True)
            return sorted(
                pairs,
                key=lambda pair: sum(a / (b or 1.0) for a, b in zip(pair[1], within.limits, strict=True)),
            )

        self.firsts, self.others = priced(choices.first_blocks, 0), priced(choices.blocks, 1)
        first = _least([sizes for _, sizes in self.firsts])
        other = _least([sizes for _, sizes in self.others])
        self.least_of_others = cache(lambda count: tuple(count * size for size in other))
        self.least = add_sizes(first, self.least_of_others(min(choices.depths) - 1))


def block_part(stage: int, index: int, block: Block, feature_map: FeatureMap) -> BlockPart:
    """Return a block at a position by itself, as far as costs depend on it."""
    return BlockPart(stage, index, block, feature_map, block.needs_previous_attention, False)


def add_sizes(one: Sizes, other: Sizes) -> Sizes:
    """Return the costs of two parts together."""
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _least(sizes: Sequence[Sizes]) -> Sizes:
    return tuple(min(column) for column in zip(*sizes, strict=True))
