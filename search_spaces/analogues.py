"""Analogues: the published designs scaled into any given space, where a search starts from.

A stage of the space takes the operators of its counterpart in the paper, with the nearest options that
the space has for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.block_sequence import least_depth, repeat_blocks
from search_spaces.choices import StageChoices
from search_spaces.published import published
from search_spaces.widths import WidthChoices

if TYPE_CHECKING:
    from search_spaces.space import Space


@dataclass(frozen=True)
class StagePattern:
    """One stage of a published design, as far as an analogue follows it.

    Args:
        dim: Channels.
        head_dim: Channels of a head.
        side: Side of its map in positions.
        blocks: Its blocks, first to last.
        downsample: What comes before it; None in the first stage.
    """

    dim: int
    head_dim: float
    side: float
    blocks: tuple[Block, ...]
    downsample: str | None = None


@dataclass(frozen=True)
class DesignPattern:
    """A published design as far as its analogues follow it."""

    stem: str
    stages: tuple[StagePattern, ...]

    @classmethod
    def of_published(cls, name: str) -> DesignPattern:
        """Return the pattern of the published network ``name``."""
        return cls.of_architecture(published(name))

    @classmethod
    def of_architecture(cls, design: Architecture) -> DesignPattern:
        """Return the pattern of any design."""
        return cls(
            design.stem,
            tuple(
                StagePattern(
                    stage.dim,
                    stage.dim / stage.num_heads,
                    math.sqrt(height * width),
                    stage.blocks,
                    stage.downsample,
                )
                for stage, (height, width) in zip(design.stages, design.maps(), strict=True)
            ),
        )

    def with_block(self, block: Block) -> DesignPattern:
        """Return this pattern with ``block`` in place of every block."""
        stages = (replace(stage, blocks=(block,) * len(stage.blocks)) for stage in self.stages)
        return replace(self, stages=tuple(stages))


def analogues(space: Space) -> list[tuple[str, Architecture]]:
    """Return ``(name, architecture)`` of every published family that ``space`` can express.

    All lie in the space and have distinct digests. A family is left out where a stage has none of its
    operators; Refiner alone is replaced by plain attention (GSA, else LSA) in stages that cannot hold its
    attention maps. In a space without shifted windows, Swin becomes LSA with RPE; in one without shared
    attention maps, Refiner becomes blocks that all refine their own.
    """
    found: dict[str, tuple[str, Architecture]] = {}
    for name, versions in _families().items():
        for patterns in versions:
            nearest = min(patterns, key=lambda pattern: _size_distance(pattern, space))
            design = analogue(nearest, space)
            if design is not None:
                found.setdefault(design.digest, (name, design))
                break
    return list(found.values())


#: The published networks of every family; the one whose widths, then depths, are nearest to
#: the space's is followed.
_MEMBERS = {
    "twins_svt-like": ("twins_svt_small", "twins_svt_base", "twins_svt_large"),
    "twins_pcpvt-like": ("twins_pcpvt_small", "twins_pcpvt_base", "twins_pcpvt_large"),
    "cswin-like": ("cswin_tiny", "cswin_small", "cswin_base", "cswin_large"),
    "dwnet-like": ("dwnet_tiny", "dwnet_base"),
    "dwnet_dynamic-like": ("dwnet_tiny_dynamic", "dwnet_base_dynamic"),
    "dwnet_inhomogeneous-like": ("dwnet_tiny_inhomogeneous", "dwnet_base_inhomogeneous"),
    "refiner-like": ("refiner_vit_small", "refiner_vit_medium", "refiner_vit_large"),
    "swin-like": ("swin_tiny", "swin_base"),
}

#: The block that replaces all of a family's in spaces that cannot hold the family as published.
_SIMPLER_BLOCKS = {
    "refiner-like": Block("refiner", (("expand_ratio", 3), ("kernel_size", 3)), mlp_ratio=3),
    "swin-like": Block("lsa", (("window_size", 7),), "rpe"),
}


def _families() -> dict[str, tuple[tuple[DesignPattern, ...], ...]]:
    """Return the versions of every family, to be tried in order, each with a pattern for each network."""
    families: dict[str, tuple[tuple[DesignPattern, ...], ...]] = {}
    for name, members in _MEMBERS.items():
        patterns = tuple(map(DesignPattern.of_published, members))
        families[name] = (patterns,)
        if name in _SIMPLER_BLOCKS:
            simpler = tuple(pattern.with_block(_SIMPLER_BLOCKS[name]) for pattern in patterns)
            families[name] = (patterns, simpler)
    return families


def analogue(design: DesignPattern, space: Space) -> Architecture | None:
    """Return the architecture of ``space`` nearest to ``design``, or None if the space lacks its operators."""
    patterns = _counterparts(design, space)
    # Stages of the space with the same counterpart share its depth.
    wanted = [len(pattern.blocks) / patterns.count(pattern) for pattern in patterns]
    options = [
        _sufficient_depths(choices.depths, pattern)
        for choices, pattern in zip(space.stages, patterns, strict=True)
    ]
    stages = []
    for choices, pattern, depth in zip(space.stages, patterns, _nearest_depths(wanted, options), strict=True):
        nearest = [_nearest_block(block, choices) for block in repeat_blocks(pattern.blocks, depth)]
        blocks = tuple(block for block in nearest if block is not None)
        if len(blocks) < depth:
            return None
        downsample = None
        if choices.downsamples:
            downsample = _same_or_first(pattern.downsample, choices.downsamples)
        stages.append(Stage(*_nearest_width(choices.widths, pattern), blocks, downsample))
    operators = {block.operator for pattern in patterns for block in pattern.blocks}
    if not operators & {block.operator for stage in stages for block in stage.blocks}:
        return None  # every stage fell back to plain attention: nothing of the paper is left
    return Architecture(
        tuple(stages),
        space.image_size,
        space.in_channels,
        space.num_classes,
        _same_or_first(design.stem, space.stems),
        space.style,
    )


def _counterparts(design: DesignPattern, space: Space) -> list[StagePattern]:
    """Return the stage that each stage of ``space`` follows: by order, or by map size where counts differ."""
    if len(design.stages) == len(space.stages):
        return list(design.stages)
    return [
        min(design.stages, key=lambda stage: _log_ratio(stage.side, math.sqrt(feature_map.tokens)))
        for feature_map in space.feature_maps()
    ]


def _size_distance(design: DesignPattern, space: Space) -> tuple[float, float]:
    """Order the networks of a family by how near the space comes to their widths, then to their depths."""
    pairs = list(zip(_counterparts(design, space), space.stages, strict=True))
    widths = sum(
        _log_ratio(pattern.dim, _nearest_width(stage.widths, pattern)[0]) for pattern, stage in pairs
    )
    depths = sum(
        min(_log_ratio(depth, len(pattern.blocks)) for depth in stage.depths) for pattern, stage in pairs
    )
    return round(widths, 9), depths


def _nearest_width(widths: WidthChoices, pattern: StagePattern) -> tuple[int, int]:
    """Return the ``(dim, num_heads)`` nearest to those of ``pattern``: by width, then by the width of a head."""

    def distance(pair: tuple[int, int]) -> tuple[float, float]:
        dim, num_heads = pair
        return _log_ratio(dim, pattern.dim), _log_ratio(dim / num_heads, pattern.head_dim)

    return min(widths.pairs, key=distance)


def _sufficient_depths(depths: Sequence[int], pattern: StagePattern) -> Sequence[int]:
    """Return the depths that hold every kind of block of ``pattern``, or all where none does."""
    least = least_depth(pattern.blocks)
    return [depth for depth in depths if depth >= least] or depths


def _nearest_depths(wanted: Sequence[float], options: Sequence[Sequence[int]]) -> list[int]:
    """Return the depths whose proportions are nearest to ``wanted``, and then whose sum is."""
    scales = {1.0} | {depth / want for want, depths in zip(wanted, options, strict=True) for depth in depths}

    def depths_at(scale: float) -> list[int]:
        pairs = zip(wanted, options, strict=True)
        return [min(depths, key=lambda depth: _log_ratio(depth, want * scale)) for want, depths in pairs]

    def distance(scale: float) -> tuple[float, float]:
        pairs = zip(depths_at(scale), wanted, strict=True)
        error = sum(_log_ratio(depth, want * scale) for depth, want in pairs)
        return round(error, 9), _log_ratio(scale, 1.0)

    return depths_at(min(sorted(scales), key=distance))


#: Knobs that make an operator another one: an analogue never differs from its paper in these.
_DEFINING_KNOBS = ("dynamic", "maps")


def _nearest_block(wanted: Block, choices: StageChoices) -> Block | None:
    """Return the stage's block nearest to ``wanted``, or None if it lacks the operator."""
    defining = {name: value for name, value in wanted.settings.items() if name in _DEFINING_KNOBS}
    same = [
        block
        for block in choices.blocks
        if block.operator == wanted.operator and defining.items() <= block.settings.items()
    ]
    if same:
        return min(same, key=lambda block: _distance(block, wanted))
    if wanted.operator != "refiner":
        return None
    plain = Block("gsa", (("sr_ratio", 1),), wanted.pos, wanted.mlp_ratio)
    local = Block("lsa", (("window_size", 7),), wanted.pos, wanted.mlp_ratio)
    return _nearest_block(plain, choices) or _nearest_block(local, choices)


def _distance(block: Block, wanted: Block) -> tuple[int, float, int, float]:
    """Order blocks of one operator: by words, numbers, encoding (the same, else none, else any), MLP ratio."""
    pairs = [(value, wanted.settings.get(name, value)) for name, value in block.settings.items()]
    words = sum(v != w for v, w in pairs if isinstance(v, str))
    numbers = sum(_log_ratio(v, w) for v, w in pairs if isinstance(v, int) and isinstance(w, int))
    pos = 0 if block.pos == wanted.pos else 1 if block.pos == "none" else 2
    return words, numbers, pos, _log_ratio(block.mlp_ratio, wanted.mlp_ratio)


def _same_or_first(wanted: str | None, options: Sequence[str]) -> str:
    return wanted if wanted is not None and wanted in options else options[0]


def _log_ratio(one: float, other: float) -> float:
    """Return how many times one positive number exceeds the other, as a logarithm."""
    return abs(math.log(one / other))
