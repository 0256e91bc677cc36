"""Likenesses: the published designs scaled into any given space, where a search starts from.

A stage of the space takes the operators of its counterpart in the paper, with the nearest options that
the space offers for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import StageChoices
from search_spaces.published import published
from search_spaces.space import Space


@dataclass(frozen=True)
class Pattern:
    """One stage of a published design, as far as a likeness follows it.

    Args:
        dim: Channels.
        side: Side of its map in positions.
        blocks: Its blocks, first to last.
        downsample: What comes before it; None in the first stage.
    """

    dim: int
    side: float
    blocks: tuple[Block, ...]
    downsample: str | None = None


@dataclass(frozen=True)
class Model:
    """A published design that likenesses are taken of."""

    stem: str
    stages: tuple[Pattern, ...]

    @classmethod
    def of(cls, name: str) -> Model:
        """Return the published network ``name`` as a model."""
        design = published(name)
        return cls(
            design.stem,
            tuple(
                Pattern(stage.dim, math.sqrt(height * width), stage.blocks, stage.downsample)
                for stage, (height, width) in zip(design.stages, design.maps(), strict=True)
            ),
        )


def analogues(space: Space) -> list[tuple[str, Architecture]]:
    """Return ``(name, architecture)`` of every published family that ``space`` can express.

    All lie in the space and have distinct digests. A family is left out where a stage offers none of its
    operators; Refiner alone is replaced by plain attention (GSA, else LSA) in stages that cannot hold its
    attention maps. Swin is rendered by LSA with RPE in a space without shifted windows, Refiner by blocks
    that all refine their own maps in one without shared maps.
    """
    found: dict[str, tuple[str, Architecture]] = {}
    for name, renditions in _families().items():
        for models in renditions:
            nearest = min(models, key=lambda model: _width_distance(model, space))
            analogue = _analogue(nearest, space)
            if analogue is not None:
                found.setdefault(analogue.digest, (name, analogue))
                break
    return list(found.values())


#: The published networks of every family; the one whose widths are nearest to the space's is followed.
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


def _families() -> dict[str, tuple[tuple[Model, ...], ...]]:
    """Return the renditions of every family, to be tried in order, each by its models."""
    papers = {name: tuple(map(Model.of, members)) for name, members in _MEMBERS.items()}
    plainer = {
        "refiner-like": Block("refiner", (("expand_ratio", 3), ("kernel_size", 3)), mlp_ratio=3),
        "swin-like": Block("lsa", (("window_size", 7),), "rpe"),
    }
    return {
        name: (models, tuple(_all(model, plainer[name]) for model in models))
        if name in plainer
        else (models,)
        for name, models in papers.items()
    }


def _all(model: Model, block: Block) -> Model:
    """Return ``model`` with ``block`` in every place."""
    return replace(model, stages=tuple(replace(s, blocks=(block,) * len(s.blocks)) for s in model.stages))


def _analogue(model: Model, space: Space) -> Architecture | None:
    """Return the design of ``space`` nearest to ``model``, or None if the space lacks its operators."""
    matched = _matched(model, space)
    # Stages of the space that share a stage of the paper share its depth.
    wanted = [len(pattern.blocks) / matched.count(pattern) for pattern in matched]
    depths = _depths(
        wanted,
        [_whole(choices.depths, pattern) for choices, pattern in zip(space.stages, matched, strict=True)],
    )
    stages = []
    for choices, pattern, depth in zip(space.stages, matched, depths, strict=True):
        found = [_nearest(_block(pattern, number), choices) for number in range(depth)]
        blocks = tuple(block for block in found if block is not None)
        if len(blocks) < depth:
            return None
        downsample = _kept(pattern.downsample, choices.downsamples) if choices.downsamples else None
        stages.append(Stage(choices.dim, choices.num_heads, blocks, downsample))
    papers = {block.operator for pattern in matched for block in pattern.blocks}
    if not papers & {block.operator for stage in stages for block in stage.blocks}:
        return None  # every stage fell back to plain attention: nothing of the paper is left
    return Architecture(
        tuple(stages),
        space.image_size,
        space.in_channels,
        space.num_classes,
        _kept(model.stem, space.stems),
        space.style,
    )


def _matched(model: Model, space: Space) -> list[Pattern]:
    """Return for every stage of ``space`` its counterpart: by order, or by map size where counts differ."""
    if len(model.stages) == len(space.stages):
        return list(model.stages)
    return [
        min(model.stages, key=lambda pattern: _apart(pattern.side, math.sqrt(feature_map.tokens)))
        for feature_map in space.feature_maps()
    ]


def _width_distance(model: Model, space: Space) -> float:
    matched = zip(_matched(model, space), space.stages, strict=True)
    return sum(_apart(pattern.dim, stage.dim) for pattern, stage in matched)


def _whole(depths: Sequence[int], pattern: Pattern) -> Sequence[int]:
    """Return the depths that hold every operator of ``pattern``, or all where none does."""
    kinds = len({block.operator for block in pattern.blocks})
    return [depth for depth in depths if depth >= kinds] or depths


def _depths(wanted: Sequence[float], options: Sequence[Sequence[int]]) -> list[int]:
    """Return the depths whose proportions are nearest to ``wanted``, and then whose sum is."""
    scales = {1.0} | {depth / want for want, depths in zip(wanted, options, strict=True) for depth in depths}

    def at(scale: float) -> list[int]:
        pairs = zip(wanted, options, strict=True)
        return [min(depths, key=lambda depth: _apart(depth, want * scale)) for want, depths in pairs]

    def distance(scale: float) -> tuple[float, float]:
        error = sum(_apart(depth, want * scale) for depth, want in zip(at(scale), wanted, strict=True))
        return round(error, 9), _apart(scale, 1.0)

    return at(min(sorted(scales), key=distance))


def _block(pattern: Pattern, number: int) -> Block:
    """Return the paper's block at index ``number``; deeper stages go on in its rhythm."""
    block = pattern.blocks[number % len(pattern.blocks)]
    # The encoding of a stage's first block (PEG) is not repeated with the rhythm.
    return block if number < len(pattern.blocks) else replace(block, pos=pattern.blocks[-1].pos)


#: Knobs that make an operator another one: a likeness never differs from its paper in these.
_KINDS = ("dynamic", "maps")


def _nearest(wanted: Block, choices: StageChoices) -> Block | None:
    """Return the stage's block nearest to ``wanted``, or None if it lacks the operator."""
    kinds = {name: value for name, value in wanted.settings.items() if name in _KINDS}
    same = [
        block
        for block in choices.blocks
        if block.operator == wanted.operator and kinds.items() <= block.settings.items()
    ]
    if same:
        return min(same, key=lambda block: _distance(block, wanted))
    if wanted.operator != "refiner":
        return None
    plain = Block("gsa", (("sr_ratio", 1),), wanted.pos, wanted.mlp_ratio)
    local = Block("lsa", (("window_size", 7),), wanted.pos, wanted.mlp_ratio)
    return _nearest(plain, choices) or _nearest(local, choices)


def _distance(block: Block, wanted: Block) -> tuple[int, float, int, float]:
    """Order blocks of one operator: by words, numbers, encoding (the same, else none, else any), MLP ratio."""
    pairs = [(value, wanted.settings.get(name, value)) for name, value in block.settings.items()]
    words = sum(v != w for v, w in pairs if isinstance(v, str))
    numbers = sum(_apart(v, w) for v, w in pairs if isinstance(v, int) and isinstance(w, int))
    pos = 0 if block.pos == wanted.pos else 1 if block.pos == "none" else 2
    return words, numbers, pos, _apart(block.mlp_ratio, wanted.mlp_ratio)


def _kept(wanted: str | None, offered: Sequence[str]) -> str:
    return wanted if wanted is not None and wanted in offered else offered[0]


def _apart(one: float, other: float) -> float:
    """Return how many times one positive number exceeds the other, as a logarithm."""
    return abs(math.log(one / other))
