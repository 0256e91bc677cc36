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
from search_spaces.walk import BlockPart, Part, walk

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
    steps = [0]
    for skeleton in space.skeletons():
        yield from _SkeletonWalk(space, skeleton, within, steps).designs()


class _SkeletonWalk:
    """The designs of a space that share stem and downsamplings.

    Args:
        space: The space.
        skeleton: A design with that stem and these downsamplings.
        within: The limits.
        steps: The number of blocks looked at so far, which is counted on.
    """

    def __init__(self, space: Space, skeleton: Architecture, within: Within, steps: list[int]) -> None:
        self.space, self.skeleton, self.within, self.steps = space, skeleton, within, steps
        self.bounds = tuple(limit * (1 + _ROUNDING) for limit in within.limits)
        zero = (0.0,) * len(within.limits)
        parts = [part for part in walk(skeleton) if not isinstance(part, BlockPart)]
        self.fixed = _total([within.part_sizes(part, space.style) for part in parts], zero)
        self.stages = [
            _StageOptions(index, stage, skeleton.feature_map(index), within, space.style)
            for index, stage in enumerate(space.stages)
        ]
        # What all stages from each one on cost at least, so that the last entry is nothing.
        self.rest = [zero]
        for options in reversed(self.stages):
            self.rest.insert(0, _add(options.least, self.rest[0]))

    def designs(self) -> Iterator[Architecture]:
        """Yield the designs within the limits."""
        if self._may_fit(self.fixed, self.rest[0]):
            for stages in self._stages(0, self.fixed):
                yield self.space.with_stages(stages, self.skeleton.stem)

    def _stages(self, index: int, spent: Sizes) -> Iterator[tuple[Stage, ...]]:
        """Yield the stages from ``index`` on that can follow parts that cost ``spent``."""
        if index == len(self.stages):
            yield ()
            return
        options, after = self.stages[index], self.rest[index + 1]
        for depth in sorted(options.choices.depths):
            for blocks, total in self._blocks(options, depth, (), spent, after):
                stage = Stage(
                    options.choices.dim,
                    options.choices.num_heads,
                    blocks,
                    self.skeleton.stages[index].downsample,
                )
                for others in self._stages(index + 1, total):
                    yield (stage, *others)

    def _blocks(
        self, options: _StageOptions, depth: int, blocks: tuple[Block, ...], spent: Sizes, after: Sizes
    ) -> Iterator[tuple[tuple[Block, ...], Sizes]]:
        """Yield ``(blocks, cost so far)`` of a stage of ``depth`` blocks that begins with ``blocks``."""
        missing = depth - len(blocks)
        if not missing:
            yield blocks, spent
            return
        rest = _add(options.least_of_others(missing - 1), after)
        for block, sizes in options.others if blocks else options.firsts:
            self.steps[0] += 1
            if self.within.most_steps is not None and self.steps[0] > self.within.most_steps:
                raise WalkTooLong
            total = _add(spent, sizes)
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
        self.least = _add(first, self.least_of_others(min(choices.depths) - 1))


def block_part(stage: int, index: int, block: Block, feature_map: FeatureMap) -> BlockPart:
    """Return a block at a position by itself, as far as costs depend on it."""
    return BlockPart(stage, index, block, feature_map, block.needs_previous_attention, False)


def _add(one: Sizes, other: Sizes) -> Sizes:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _least(sizes: Sequence[Sizes]) -> Sizes:
    return tuple(min(column) for column in zip(*sizes, strict=True))


def _total(sizes: Sequence[Sizes], zero: Sizes) -> Sizes:
    return tuple(sum(column) for column in zip(zero, *sizes, strict=True))
