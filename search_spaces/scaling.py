"""A design scaled in width and depth to a budget of MACs, for comparisons at equal cost.

Published families are a few points far apart. Between them, and on other images, a family is scaled here as the
scaling studies do (EfficientNet, arXiv 1905.11946, section 3.2): all depths by one factor and all widths by another,
rounded. Of the ways to meet the budget the one is taken that changes depths and widths least, both counted as
logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from search_spaces.architecture import Architecture, Stage
from search_spaces.block_sequence import least_depth, repeat_blocks
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError

#: Largest share of the budget by which a scaled design may miss it.
TOLERANCE = 0.02
#: Factors of the depths that are tried: 4 steps for each doubling.
_DEPTH_FACTORS = tuple(2 ** (step / 4) for step in range(-20, 13))
#: Narrowest and widest factor of the widths, and how often their interval is halved.
_NARROWEST, _WIDEST, _HALVINGS = 1 / 64, 64.0, 14


def scale_to_macs(design: Architecture, macs: float) -> Architecture:
    """Return ``design`` with as many MACs as ``macs`` asks for, within 2%, for the same images.

    Blocks keep their operators and knobs, stages their numbers of heads.

    Raises:
        ArchitectureError: If no widths and depths meet the budget; the sentence says which MACs are nearest.
    """
    if _misses(design, macs) <= TOLERANCE:
        return design
    candidates = [
        candidate for stages in _depths(design) for candidate in _widths(replace(design, stages=stages), macs)
    ]
    if not candidates:
        raise ArchitectureError("it cannot be scaled: no other width or depth fits its images")
    fitting = [candidate for candidate in candidates if _misses(candidate, macs) <= TOLERANCE]
    if not fitting:
        nearest = costs(min(candidates, key=lambda candidate: _misses(candidate, macs))).macs
        raise ArchitectureError(
            f"it cannot be scaled to {macs / 1e6:.3g}M MACs within {TOLERANCE:.0%}; "
            f"the nearest have {nearest / 1e6:.3g}M"
        )
    return min(fitting, key=lambda candidate: (_change(candidate, design), _misses(candidate, macs)))


def _misses(design: Architecture, macs: float) -> float:
    """Return by which share of a budget a design misses it."""
    return abs(costs(design).macs / macs - 1)


def _depths(design: Architecture) -> Iterator[tuple[Stage, ...]]:
    """Yield the stages of a design at every depth that one factor makes; each keeps all kinds of its blocks."""
    seen = set()
    for factor in _DEPTH_FACTORS:
        depths = tuple(
            max(least_depth(stage.blocks), round(factor * len(stage.blocks))) for stage in design.stages
        )
        if depths not in seen:
            seen.add(depths)
            pairs = zip(design.stages, depths, strict=True)
            yield tuple(replace(stage, blocks=repeat_blocks(stage.blocks, depth)) for stage, depth in pairs)


def _widths(design: Architecture, macs: float) -> Iterator[Architecture]:
    """Yield designs around a budget: the widest below it and the narrowest above, and each stage moved between them."""
    low, high = _NARROWEST, _WIDEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        scaled = _with_widths(design, _rounded(design, middle))
        if scaled is not None and costs(scaled).macs <= macs:
            low = middle
        else:
            high = middle
    below, above = _rounded(design, low), _rounded(design, high)
    # Stages between the two, so that the rounding of one does not miss the budget by that of all.
    for mask in range(2 ** len(below)):
        dims = [
            wide if mask >> index & 1 else narrow
            for index, (narrow, wide) in enumerate(zip(below, above, strict=True))
        ]
        if (scaled := _with_widths(design, dims)) is not None:
            yield scaled


def _rounded(design: Architecture, factor: float) -> list[int]:
    """Return the widths times a factor, each a multiple of what its stage can be divided into."""
    return [
        quantum * max(1, round(factor * stage.dim / quantum))
        for stage, quantum in zip(design.stages, map(_quantum, design.stages), strict=True)
    ]


def _quantum(stage: Stage) -> int:
    groups = [int(block.settings.get("group_channels", 1)) for block in stage.blocks]
    return math.lcm(2, stage.num_heads, *groups)


def _with_widths(design: Architecture, dims: Sequence[int]) -> Architecture | None:
    """Return a design at other widths, or None where its blocks do not fit them."""
    stages = tuple(replace(stage, dim=dim) for stage, dim in zip(design.stages, dims, strict=True))
    try:
        return replace(design, stages=stages)
    except ArchitectureError:
        return None


def _change(scaled: Architecture, design: Architecture) -> float:
    """Return how far depths and widths are from those of a design: squared logarithms of their ratios, summed."""
    pairs = list(zip(scaled.stages, design.stages, strict=True))
    depth = math.log(sum(len(s.blocks) for s, _ in pairs) / sum(len(d.blocks) for _, d in pairs))
    width = math.fsum(math.log(s.dim / d.dim) for s, d in pairs) / len(pairs)
    uneven = math.fsum(math.log(s.dim / d.dim) ** 2 for s, d in pairs) / len(pairs) - width**2
    return depth**2 + width**2 + uneven
