"""The parts of a network that are timed one by one, each as the static module that a subnet holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.enumeration import block_part
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.stage_maps import entrances, head_part, next_parts, reachable_maps
from search_spaces.walk import BlockPart, DownsamplePart, HeadPart, Part, StemPart, walk
from supernet.blueprint import Call, call
from supernet.subnet import (
    block_blueprint,
    downsample_blueprint,
    ends_blueprint,
    network_blueprint,
    stem_blueprint,
)

_NETWORKS = 6  # whole networks that are timed beside the parts


@dataclass(frozen=True)
class TimedPart:
    """A piece of a network that is timed by itself.

    Args:
        name: What it is called in a table; parts with one name are the same.
        blueprint: What makes its static module.
        shape: Its input for one image: ``(C, H, W)`` of a stem, ``(H, W, C)`` of all others.
    """

    name: str
    blueprint: Call
    shape: tuple[int, int, int]


class _BlockWithGivenMaps(nn.Module):
    """A block that needs the attention maps of the block before it, with maps to apply.

    Args:
        block: The block.
        num_heads: Its heads.
        tokens: Its positions N.
    """

    maps: Tensor

    def __init__(self, block: nn.Module, num_heads: int, tokens: int) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("maps", torch.full((1, num_heads, tokens, tokens), 1 / tokens))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.maps.expand(x.shape[0], -1, -1, -1))[0]


def timed_parts(architecture: Architecture) -> Iterator[TimedPart]:
    """Yield every part of the network of ``architecture``, first to last; equal parts as often as they occur.

    The names are what stored tables are read by: a change of one letter makes them unreadable.
    """
    for part in walk(architecture):
        yield timed_part(part, architecture.style)


def timed_part(part: Part, style: Style) -> TimedPart:
    """Return what is timed of one part of an architecture of this style."""
    match part:
        case StemPart():
            return _timed_stem(part, style)
        case DownsamplePart():
            return _timed_downsample(part)
        case BlockPart():
            return _timed_block(part, style)
        case HeadPart():
            return _timed_head(part, style)


def _timed_stem(part: StemPart, style: Style) -> TimedPart:
    (height, width), channels = part.image_size, part.in_channels
    return TimedPart(
        f"stem {part.name} on {height}x{width}x{channels} to {part.feature_map.dim}",
        stem_blueprint(part.name, channels, part.feature_map, style),
        (channels, height, width),
    )


def _timed_downsample(part: DownsamplePart) -> TimedPart:
    before, dim = part.before, part.feature_map.dim
    return TimedPart(
        f"downsample {part.name} on {before.height}x{before.width}x{before.dim} to {dim}",
        downsample_blueprint(part.name, before.dim, dim),
        (before.height, before.width, before.dim),
    )


def _timed_block(part: BlockPart, style: Style) -> TimedPart:
    block, feature_map = part.block, part.feature_map
    height, width, dim = _block_input(feature_map)
    # Not str(block): its short spelling is for people and need not tell all blocks apart.
    fields = " ".join(f"{key}={value}" for key, value in block.to_json().items())
    if part.needs_attention:
        blueprint = call(
            _BlockWithGivenMaps,
            block_blueprint(block, feature_map, style, shares_attention=True),
            feature_map.num_heads,
            feature_map.tokens,
        )
    else:
        blueprint = block_blueprint(block, feature_map, style)
    return TimedPart(
        f"block {fields} on {height}x{width}x{dim} num_heads={feature_map.num_heads}",
        blueprint,
        (height, width, dim),
    )


def _timed_head(part: HeadPart, style: Style) -> TimedPart:
    height, width, dim = _block_input(part.feature_map)
    return TimedPart(
        f"head on {height}x{width}x{dim} to {part.num_classes}",
        ends_blueprint(dim, part.num_classes, style),
        (height, width, dim),
    )


def _block_input(feature_map: FeatureMap) -> tuple[int, int, int]:
    """Return ``(H, W, C)`` of what a block is given; a sequence with a class token is a map of one row."""
    if feature_map.class_token:
        return 1, feature_map.tokens, feature_map.dim
    return feature_map.height, feature_map.width, feature_map.dim


def network_part(architecture: Architecture) -> TimedPart:
    """Return the whole network of ``architecture`` as one part."""
    return TimedPart(
        f"network {architecture.digest}",
        network_blueprint(architecture),
        (architecture.in_channels, *architecture.image_size),
    )


def space_parts(space: Space) -> tuple[TimedPart, ...]:
    """Return every distinct part that some design of ``space`` has."""
    by_name: dict[str, TimedPart] = {}

    def add(part: Part) -> None:
        timed = timed_part(part, space.style)
        by_name[timed.name] = timed

    for entrance in entrances(space):
        add(entrance.part(space))
    for index, (stage, maps) in enumerate(zip(space.stages, reachable_maps(space), strict=True)):
        for feature_map in maps:
            for block in stage.blocks:
                add(block_part(index, 0, block, feature_map))
            if index + 1 < len(space.stages):
                for part in next_parts(space, index + 1, feature_map):
                    add(part)
            else:
                add(head_part(space, feature_map))
    return tuple(by_name.values())


def reference_designs(space: Space) -> list[Architecture]:
    """Return the designs whose whole networks are timed beside the parts of ``space``."""
    rng = Random(0)
    return [space.sample(rng) for _ in range(_NETWORKS)]


def parts_to_time(space: Space) -> list[TimedPart]:
    """Return all that is timed for a table of ``space``: its parts, and the reference networks."""
    return [*space_parts(space), *map(network_part, reference_designs(space))]
