"""Which maps the stages of a space may work on, and what leads from one to the next.

A design is a way through these maps: an entrance (size of the images, stem, width and heads of the first stage), then
for each further stage a downsampling with its width and heads. What a part costs depends on the maps at its two ends
alone, so sums and extremes over all designs are found map by map and not way by way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.geometry import downsampled_size, stem_size
from search_spaces.operators import FeatureMap
from search_spaces.walk import DownsamplePart, HeadPart, StemPart

if TYPE_CHECKING:
    from search_spaces.space import Space


@dataclass(frozen=True)
class Entrance:
    """How a design may begin.

    Args:
        image_size: Height and width of its images in pixels.
        stem: Its stem.
        feature_map: The map of its first stage.
    """

    image_size: tuple[int, int]
    stem: str
    feature_map: FeatureMap

    def part(self, space: Space) -> StemPart:
        """Return the stem at its position."""
        return StemPart(self.stem, space.in_channels, self.image_size, self.feature_map)


@dataclass(frozen=True)
class Route:
    """A design's skeleton: how it begins, and the downsampling and map of every further stage.

    Args:
        entrance: Its beginning.
        steps: The parts between its stages.
    """

    entrance: Entrance
    steps: tuple[DownsamplePart, ...] = ()

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        """The maps of its stages so far."""
        return (self.entrance.feature_map, *(step.feature_map for step in self.steps))

    @property
    def downsamples(self) -> tuple[str | None, ...]:
        """What leads to each of its stages so far; None to the first."""
        return (None, *(step.name for step in self.steps))

    def design(self, space: Space, blocks: Sequence[tuple[Block, ...]]) -> Architecture:
        """Return the design of this skeleton whose stages have these blocks."""
        stages = tuple(
            Stage(feature_map.dim, feature_map.num_heads, row, downsample)
            for feature_map, row, downsample in zip(self.feature_maps, blocks, self.downsamples, strict=True)
        )
        return space.with_stages(stages, self.entrance.stem, self.entrance.image_size)


def entrances(space: Space) -> Iterator[Entrance]:
    """Yield every way in which a design of ``space`` may begin."""
    widths = space.stages[0].widths.pairs
    for image_size, stem, (dim, num_heads) in itertools.product(space.image_sizes, space.stems, widths):
        feature_map = _feature_map(space, dim, num_heads, stem_size(stem, image_size))
        yield Entrance(image_size, stem, feature_map)


def next_parts(space: Space, stage: int, before: FeatureMap) -> Iterator[DownsamplePart]:
    """Yield everything that may lead from the map ``before`` to the stage of index ``stage``."""
    choices = space.stages[stage]
    for downsample, (dim, num_heads) in itertools.product(choices.downsamples, choices.widths.pairs):
        size = downsampled_size(downsample, (before.height, before.width))
        yield DownsamplePart(stage, downsample, before, _feature_map(space, dim, num_heads, size))


def routes(space: Space) -> Iterator[Route]:
    """Yield the skeleton of every design of ``space``."""

    def extend(route: Route) -> Iterator[Route]:
        stage = len(route.feature_maps)
        if stage == len(space.stages):
            yield route
            return
        for part in next_parts(space, stage, route.feature_maps[-1]):
            yield from extend(Route(route.entrance, (*route.steps, part)))

    for entrance in entrances(space):
        yield from extend(Route(entrance))


def reachable_maps(space: Space, stem: str | None = None) -> list[dict[FeatureMap, Entrance]]:
    """Return for every stage the maps that it may work on, each with the first entrance that leads there.

    Args:
        space: The space.
        stem: The only stem to look at; all where it is left out.
    """
    here: dict[FeatureMap, Entrance] = {}
    for entrance in entrances(space):
        if stem in (None, entrance.stem):
            here.setdefault(entrance.feature_map, entrance)
    found = [here]
    for stage in range(1, len(space.stages)):
        after: dict[FeatureMap, Entrance] = {}
        for feature_map, entrance in here.items():
            for part in next_parts(space, stage, feature_map):
                after.setdefault(part.feature_map, entrance)
        found.append(here := after)
    return found


def head_part(space: Space, feature_map: FeatureMap) -> HeadPart:
    """Return the classifier that reads the map of the last stage."""
    return HeadPart(feature_map, space.num_classes)


def _feature_map(space: Space, dim: int, num_heads: int, size: tuple[int, int]) -> FeatureMap:
    style = space.style
    return FeatureMap(dim, num_heads, *size, style.qkv_bias, style.class_token)
