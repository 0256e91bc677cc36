"""What the papers' theory says of a design: where its attention's cost goes, and which window is best.

Twins (arXiv 2104.13840, section 3.2) cuts a map of H x W positions into windows of k1 x k2. Attention
inside the windows (LSA) then costs 2 H W C k1 k2 multiply-accumulates, and attention of every position to
one key for each window (GSA) costs 2 (H W)^2 C / (k1 k2). The first rises with k1 k2 as fast as the second
falls, so their sum is least where both are equal: k1 k2 = sqrt(H W).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt

from search_spaces.architecture import Architecture, Block
from search_spaces.cost import part_cost
from search_spaces.operators import Cost, FeatureMap
from search_spaces.walk import BlockPart, DownsamplePart, walk


@dataclass(frozen=True)
class MacSplit:
    """Multiply-accumulates of a part of a network, by what they are spent on.

    Args:
        local: Products of queries with keys and of attention maps with values, inside windows or stripes.
        globally: The same among all positions of the map, or with all of a sub-sampled one.
        projections: Linear layers around attention, GSA's sub-sampling among them.
        convolutions: Depth-wise convolutions of feature maps and of values, and Refiner's of attention maps.
        mlp: The MLPs.
        rest: Downsampling and encodings around the blocks.
    """

    local: int = 0
    globally: int = 0
    projections: int = 0
    convolutions: int = 0
    mlp: int = 0
    rest: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())

    def __add__(self, other: MacSplit) -> MacSplit:
        mine, others = asdict(self), asdict(other)
        return MacSplit(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True)
class WindowAdvice:
    """One stage: its costs, and Twins' best window beside the chosen ones.

    Args:
        stage: Number of the stage, from 1.
        height: Rows H of its map.
        width: Columns W of its map.
        split: Multiply-accumulates of the whole stage.
        optimum: Best k1 k2, which is sqrt(H W).
        windows: k1 k2 of every local operator in the stage, ascending: positions that attend together.
        ratios: k1 k2 of every sub-sampling operator in the stage, ascending: positions that share a key.
        excess: Cost of a pair of LSA and GSA whose k1 k2 is the mean of the chosen windows, as a multiple of
            the least cost of such a pair; None where the stage lacks windows or sub-sampling.
    """

    stage: int
    height: int
    width: int
    split: MacSplit
    optimum: float
    windows: tuple[int, ...]
    ratios: tuple[int, ...]
    excess: float | None

    @property
    def side(self) -> float:
        """Side of a square window of the best k1 k2."""
        return sqrt(self.optimum)


def pair_cost(height: int, width: int, dim: int, window: float) -> float:
    """Return the products' MACs of one LSA and one GSA that takes one key for each of LSA's windows.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        dim: Channels.
        window: k1 k2 of the windows.
    """
    tokens = height * width
    return 2 * tokens * dim * window + 2 * tokens**2 * dim / window


def window_advice(architecture: Architecture) -> tuple[WindowAdvice, ...]:
    """Return the advice for every stage of ``architecture``."""
    return tuple(_stage_advice(architecture, index) for index in range(len(architecture.stages)))


def _stage_advice(architecture: Architecture, index: int) -> WindowAdvice:
    feature_map, split = architecture.feature_map(index), MacSplit()
    windows, ratios = set(), set()
    for part in walk(architecture):
        if isinstance(part, DownsamplePart) and part.stage == index:
            split += MacSplit(rest=part_cost(part, architecture.style).macs)
        if isinstance(part, BlockPart) and part.stage == index:
            split += block_split(part.block, part_cost(part, architecture.style), feature_map)
            terms = part.block.spec.attention_terms(part.block.settings, part.block.pos, feature_map)
            windows.add(terms.window_area)
            ratios.add(terms.key_area)
    chosen = sorted(area for area in windows if area is not None)
    shared = sorted(area for area in ratios if area is not None)
    height, width, optimum = feature_map.height, feature_map.width, sqrt(feature_map.tokens)
    excess = None
    if chosen and shared:
        cost = pair_cost(height, width, 1, sum(chosen) / len(chosen))
        excess = cost / pair_cost(height, width, 1, optimum)
    return WindowAdvice(index + 1, height, width, split, optimum, tuple(chosen), tuple(shared), excess)


def block_split(block: Block, cost: Cost, feature_map: FeatureMap) -> MacSplit:
    """Return what the MACs of one block, whose whole cost is ``cost``, are spent on."""
    mixer = block.spec.cost(block.settings, block.pos, feature_map).macs
    terms = block.spec.attention_terms(block.settings, block.pos, feature_map)
    mlp = 2 * feature_map.tokens * feature_map.dim * block.hidden_dim(feature_map.dim)
    return MacSplit(
        local=terms.local,
        globally=terms.globally,
        # What is neither a product nor a convolution of an operator is a projection of it.
        projections=mixer - terms.local - terms.globally - terms.convolutions,
        convolutions=terms.convolutions,
        mlp=mlp,
        rest=cost.macs - mixer - mlp,
    )
