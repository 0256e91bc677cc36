"""One walk over an architecture: its parts in the order in which an image passes them.

Whatever goes through a network part by part goes through this: an architecture's own checks, costs, the
supernet's forward pass, the subnet's blueprint, latencies, the prefix cache. A new kind of part is added here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.operators import FeatureMap

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture, Block


@dataclass(frozen=True)
class StemPart:
    """What turns images ``(B, in_channels, H, W)`` into the first map ``(B, H', W', C)``.

    Args:
        name: The stem.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        feature_map: Its output, the map of the first stage.
    """

    name: str
    in_channels: int
    image_size: tuple[int, int]
    feature_map: FeatureMap


@dataclass(frozen=True)
class DownsamplePart:
    """What turns the last map of one stage into the first of the next.

    Args:
        stage: Index of the stage that it leads to, from 0.
        name: The downsampling.
        before: Its input, the map of the stage before.
        feature_map: Its output.
    """

    stage: int
    name: str
    before: FeatureMap
    feature_map: FeatureMap


@dataclass(frozen=True)
class BlockPart:
    """One block at its position.

    Args:
        stage: Index of the stage, from 0.
        index: Index of the block in its stage, from 0.
        block: Its design.
        feature_map: The map that it works on.
        needs_attention: Whether it applies the attention maps of the block before.
        returns_attention: Whether the block after it applies the attention maps of this one.
    """

    stage: int
    index: int
    block: Block
    feature_map: FeatureMap
    needs_attention: bool
    returns_attention: bool

    @property
    def shares_attention(self) -> bool:
        """Whether attention maps come from the block before or go to the one after."""
        return self.needs_attention or self.returns_attention

    @property
    def name(self) -> str:
        """Its position in words, ``stage2.block1``, counted from 1."""
        return f"stage{self.stage + 1}.block{self.index + 1}"


@dataclass(frozen=True)
class HeadPart:
    """The last norm and the classifier.

    Args:
        feature_map: Its input, the map of the last stage.
        num_classes: Outputs of the classifier.
    """

    feature_map: FeatureMap
    num_classes: int


Part = StemPart | DownsamplePart | BlockPart | HeadPart


def walk(architecture: Architecture) -> tuple[Part, ...]:
    """Return the parts of ``architecture``, first to last."""
    # Training asks for them at every step, so they are kept where a cached_property would keep them.
    remembered = vars(architecture)
    if "parts" not in remembered:
        remembered["parts"] = tuple(_find_parts(architecture))
    parts: tuple[Part, ...] = remembered["parts"]
    return parts


def walk_blocks(architecture: Architecture) -> tuple[BlockPart, ...]:
    """Return the blocks of ``architecture`` alone, first to last."""
    return tuple(part for part in walk(architecture) if isinstance(part, BlockPart))


def _find_parts(architecture: Architecture) -> Iterator[Part]:
    first = architecture.feature_map(0)
    yield StemPart(architecture.stem, architecture.in_channels, architecture.image_size, first)
    for stage_index, stage in enumerate(architecture.stages):
        feature_map = architecture.feature_map(stage_index)
        if stage.downsample is not None:
            before = architecture.feature_map(stage_index - 1)
            yield DownsamplePart(stage_index, stage.downsample, before, feature_map)
        needs = [block.needs_previous_attention for block in stage.blocks]
        returns = [*needs[1:], False]
        for index, block in enumerate(stage.blocks):
            yield BlockPart(stage_index, index, block, feature_map, needs[index], returns[index])
    yield HeadPart(architecture.feature_map(len(architecture.stages) - 1), architecture.num_classes)
