"""Random designs, drawn evenly over their MACs.

Independent choices add up to costs in the middle, so that small and large designs are hardly ever drawn. Here each
design has the probability with which the choices alone would make it, times ``exp(-tilt * MACs)``: of all
distributions with that mean of the MACs the one nearest to independent choices (Jaynes 1957, "Information Theory and
Statistical Mechanics"). MACs add up over parts, so such designs are drawn exactly, stage after stage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Generic, TypeVar

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import StageChoices
from search_spaces.cost import costs, part_cost
from search_spaces.enumeration import block_part
from search_spaces.operators import FeatureMap
from search_spaces.stage_maps import Entrance, entrances, head_part, next_parts
from search_spaces.walk import DownsamplePart, Part

if TYPE_CHECKING:
    from search_spaces.space import Space

#: Equal parts of the range of MACs, each with a tilt of its own.
_BINS = 24
#: Designs that are drawn with a bin's tilt, of which the one of the nearest MACs is taken.
_DRAWS = 4
#: The most where MACs are to be even; the first that misses them by half a bin at most is taken, the tenth or so.
_MOST_DRAWS = 100
#: Halvings of the interval of tilts at most, and the share of a bin by which the mean may miss its middle.
_HALVINGS, _TOLERANCE = 40, 0.2
#: Tilts to begin with, as a multiple of one over the range of MACs, and where they end.
_FIRST_TILT, _LAST_TILT = 16.0, 1e5

Option = TypeVar("Option")


class CostTilting:
    """Draws designs of a space evenly over their MACs.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.least, self.most = costs(space.smallest).macs, costs(space.largest).macs
        self.priors = [_block_priors(stage) for stage in space.stages]
        self.macs, self.block_macs = cache(self._macs), cache(self._find_block_macs)
        self._at_bin = cache(self._find_tilt)

    def sample(self, rng: Random) -> Architecture:
        """Draw MACs evenly between those of the smallest and the largest design, and a design of as many."""
        half_a_bin = (self.most - self.least) / _BINS / 2
        return self._nearest(rng, rng.uniform(self.least, self.most), _MOST_DRAWS, half_a_bin)

    def sample_near(self, rng: Random, wanted: float) -> Architecture:
        """Draw a design of about ``wanted`` MACs."""
        return self._nearest(rng, wanted, _DRAWS)

    def _nearest(self, rng: Random, wanted: float, draws: int, enough: float = 0.0) -> Architecture:
        """Return of ``draws`` designs the nearest to ``wanted`` MACs, or the first nearer than ``enough``."""
        share = (wanted - self.least) / max(1, self.most - self.least)
        tilted = self._at_bin(min(_BINS - 1, int(share * _BINS)))
        best, least = None, math.inf
        for _ in range(draws):
            design = tilted.draw(rng)
            if (miss := abs(costs(design).macs - wanted)) < least:
                best, least = design, miss
            if least < enough:
                break
        assert best is not None
        return best

    def _find_tilt(self, index: int) -> _Tilted:
        """Return the tilt at which the mean of the MACs is in the middle of a bin."""
        span = max(1, self.most - self.least)
        wanted = self.least + (index + 0.5) / _BINS * span
        steepest = _FIRST_TILT
        while steepest < _LAST_TILT and not (
            _Tilted(self, steepest / span).entrances.mean
            < wanted
            < _Tilted(self, -steepest / span).entrances.mean
        ):
            steepest *= 4
        low, high = -steepest / span, steepest / span
        for _ in range(_HALVINGS):
            middle = _Tilted(self, (low + high) / 2)
            excess = middle.entrances.mean - wanted
            if abs(excess) < _TOLERANCE * span / _BINS:
                break
            low, high = (middle.tilt, high) if excess > 0 else (low, middle.tilt)
        return middle

    def _macs(self, part: Part) -> int:
        return part_cost(part, self.space.style).macs

    def _find_block_macs(self, index: int, feature_map: FeatureMap) -> tuple[list[int], list[int]]:
        first, every = (
            [self._macs(block_part(index, 0, block, feature_map)) for block in priors]
            for priors in self.priors[index]
        )
        return first, every


class _Options(Generic[Option]):
    """Options of which one is drawn.

    Args:
        values: The options.
        log_weights: Logarithms of their weights.
        macs: The mean MACs of what each leads to.
    """

    def __init__(self, values: Sequence[Option], log_weights: Sequence[float], macs: Sequence[float]) -> None:
        self.values, top = values, max(log_weights)
        self.weights = [math.exp(weight - top) for weight in log_weights]
        total = math.fsum(self.weights)
        self.log_sum = top + math.log(total)
        self.mean = math.fsum(weight * cost for weight, cost in zip(self.weights, macs, strict=True)) / total

    def draw(self, rng: Random) -> Option:
        """Draw an option by its weight."""
        return rng.choices(self.values, self.weights)[0]


class _Tilted:
    """All options of a space, weighted at one tilt from the last stage to the first.

    Args:
        tilting: What they belong to.
        tilt: The tilt, per MAC; positive for designs of few.
    """

    def __init__(self, tilting: CostTilting, tilt: float) -> None:
        self.tilting, self.tilt = tilting, tilt
        self.stage = cache(lambda index, feature_map: _TiltedStage(self, index, feature_map))
        ways: list[Entrance] = list(entrances(tilting.space))
        parts = [way.part(tilting.space) for way in ways]
        self.entrances = self.weigh(ways, parts, [self.stage(0, way.feature_map) for way in ways])

    def weigh(
        self, ways: Sequence[Option], parts: Sequence[Part], stages: Sequence[_TiltedStage]
    ) -> _Options[Option]:
        """Return ways with equal prior, each through a part to a stage."""
        macs = [self.tilting.macs(part) for part in parts]
        logs = [
            stage.log_sum - self.tilt * cost - math.log(len(ways))
            for cost, stage in zip(macs, stages, strict=True)
        ]
        return _Options(ways, logs, [cost + s.mean for cost, s in zip(macs, stages, strict=True)])

    def draw(self, rng: Random) -> Architecture:
        """Draw a design."""
        entrance = self.entrances.draw(rng)
        feature_map, downsample, stages = entrance.feature_map, None, list[Stage]()
        for index in range(len(self.tilting.space.stages)):
            stage = self.stage(index, feature_map)
            depth = stage.depths.draw(rng)
            blocks = tuple((stage.others if n else stage.firsts).draw(rng) for n in range(depth))
            stages.append(Stage(feature_map.dim, feature_map.num_heads, blocks, downsample))
            if stage.ways is not None:
                part = stage.ways.draw(rng)
                feature_map, downsample = part.feature_map, part.name
        return self.tilting.space.with_stages(tuple(stages), entrance.stem, entrance.image_size)


class _TiltedStage:
    """The options of a stage on one map, and all that may follow."""

    def __init__(self, tilted: _Tilted, index: int, feature_map: FeatureMap) -> None:
        tilting, tilt = tilted.tilting, tilted.tilt
        space, choices = tilting.space, tilting.space.stages[index]

        def weighted(priors: dict[Block, float], macs: list[int]) -> _Options[Block]:
            logs = [math.log(p) - tilt * cost for p, cost in zip(priors.values(), macs, strict=True)]
            return _Options(list(priors), logs, macs)

        self.firsts, self.others = map(
            weighted, tilting.priors[index], tilting.block_macs(index, feature_map)
        )
        self.depths = _Options(
            choices.depths,
            [self.firsts.log_sum + (depth - 1) * self.others.log_sum for depth in choices.depths],
            [self.firsts.mean + (depth - 1) * self.others.mean for depth in choices.depths],
        )
        self.log_sum = self.depths.log_sum - math.log(len(choices.depths))
        self.mean = self.depths.mean
        self.ways: _Options[DownsamplePart] | None = None
        if index + 1 < len(space.stages):
            parts = list(next_parts(space, index + 1, feature_map))
            following = [tilted.stage(index + 1, part.feature_map) for part in parts]
            self.ways = tilted.weigh(parts, parts, following)
            self.log_sum, self.mean = self.log_sum + self.ways.log_sum, self.mean + self.ways.mean
        else:
            head = tilting.macs(head_part(space, feature_map))
            self.log_sum, self.mean = self.log_sum - tilt * head, self.mean + head


def _block_priors(stage: StageChoices) -> tuple[dict[Block, float], dict[Block, float]]:
    """Return the blocks that may come first, and all of them, with probabilities: operators even, then blocks."""

    def priors(offered: Sequence[Block]) -> dict[Block, float]:
        counts = Counter(block.operator for block in offered)
        return {block: 1 / (len(counts) * counts[block.operator]) for block in offered}

    return priors(stage.first_blocks), priors(stage.blocks)
