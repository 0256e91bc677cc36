"""What the papers' theory says of a design: where its attention's cost goes, and which window is best.

Twins (arXiv 2104.13840, section 3.2) cuts a map of H x W positions into windows of k1 x k2. Attention
inside the windows (LSA) then costs 2 H W C k1 k2 multiply-accumulates, and attention of every position to
one key for each window (GSA) costs 2 (H W)^2 C / (k1 k2). The first rises with k1 k2 as fast as the second
falls, so their sum is least where both are equal: k1 k2 = sqrt(H W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt

from search_spaces.architecture import Architecture, Block
from search_spaces.cost import stage_costs
from search_spaces.operators import Cost, FeatureMap
from search_spaces.operators._base import up
from search_spaces.operators.cswin import covers


@dataclass(frozen=True)
class Split:
    """Multiply-accumulates of a part of a network, by what they are spent on.

    Args:
        local: Products of queries with keys and of maps with values, inside windows or stripes.
        globally: The same among all positions of the map, or with all of a sub-sampled one.
        projections: Linear layers around attention, GSA's sub-sampling among them.
        convolutions: Depth-wise convolutions of maps and of values, and Refiner's of attention maps.
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

    def __add__(self, other: Split) -> Split:
        mine, others = asdict(self), asdict(other)
        return Split(**{name: mine[name] + others[name] for name in mine})


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
        ratios: k1 k2 of every GSA in the stage, ascending: positions that share a key.
        excess: How many times the least cost a pair of LSA and GSA takes whose k1 k2 is the mean of the
            chosen windows; None where the stage lacks windows or GSA.
    """

    stage: int
    height: int
    width: int
    split: Split
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
    """Return a row for every stage of ``architecture``."""
    rows = []
    for index, stage in enumerate(architecture.stages):
        feature_map = architecture.feature_map(index)
        parts = stage_costs(architecture, index)
        blocks = parts[-len(stage.blocks) :]
        split = Split(rest=sum(part.macs for part in parts[: -len(stage.blocks)]))
        for block, cost in zip(stage.blocks, blocks, strict=True):
            split += block_split(block, cost, feature_map)
        windows = sorted({size for block in stage.blocks if (size := window_of(block, feature_map))})
        ratios = sorted({int(b.knob("sr_ratio")) ** 2 for b in stage.blocks if b.operator == "gsa"})
        optimum, excess = sqrt(feature_map.tokens), None
        if windows and ratios:
            chosen = pair_cost(feature_map.height, feature_map.width, 1, sum(windows) / len(windows))
            excess = chosen / pair_cost(feature_map.height, feature_map.width, 1, optimum)
        rows.append(
            WindowAdvice(
                index + 1,
                feature_map.height,
                feature_map.width,
                split,
                optimum,
                tuple(windows),
                tuple(ratios),
                excess,
            )
        )
    return tuple(rows)


def window_of(block: Block, feature_map: FeatureMap) -> int | None:
    """Return how many positions attend together in a local operator's window or stripe; None for others."""
    if block.operator in ("lsa", "swin"):
        return int(block.knob("window_size")) ** 2
    if block.operator == "cswin" and not covers(width := int(block.knob("stripe_width")), feature_map):
        return width * max(feature_map.height, feature_map.width)
    return None


def block_split(block: Block, cost: Cost, feature_map: FeatureMap) -> Split:
    """Return what one block's ``cost.macs`` at ``feature_map`` are spent on."""
    mixer = block.spec.cost(block.settings, block.pos, feature_map).macs
    spent = _SPENT[block.operator](block, feature_map)
    mlp = 2 * feature_map.tokens * feature_map.dim * block.hidden_dim(feature_map.dim)
    # What is neither a product nor a convolution of an operator is a projection of it.
    operator = spent + Split(projections=mixer - spent.total)
    return operator + Split(mlp=mlp, rest=cost.macs - mixer - mlp)


def _lsa(block: Block, feature_map: FeatureMap) -> Split:
    size = int(block.knob("window_size"))
    padded = up(feature_map.height, size) * up(feature_map.width, size)
    return Split(
        local=2 * padded * size**2 * feature_map.dim, convolutions=_lepe(block, padded * feature_map.dim)
    )


def _cswin(block: Block, feature_map: FeatureMap) -> Split:
    width = int(block.knob("stripe_width"))
    if covers(width, feature_map):
        return Split(
            globally=2 * feature_map.tokens**2 * feature_map.dim,
            convolutions=_lepe(block, feature_map.tokens * feature_map.dim),
        )
    columns, rows = (
        feature_map.height * up(feature_map.width, width),
        up(feature_map.height, width) * feature_map.width,
    )
    return Split(
        local=(columns * feature_map.height + rows * feature_map.width) * width * feature_map.dim,
        convolutions=_lepe(block, (columns + rows) * feature_map.dim // 2),
    )


def _lepe(block: Block, values: int) -> int:
    return 9 * values if block.pos == "lepe" else 0


def _gsa(block: Block, feature_map: FeatureMap) -> Split:
    ratio = int(block.knob("sr_ratio"))
    keys = feature_map.tokens if ratio == 1 else (feature_map.height // ratio) * (feature_map.width // ratio)
    return Split(globally=2 * feature_map.tokens * keys * feature_map.dim)


def _refiner(block: Block, feature_map: FeatureMap) -> Split:
    # Blocks that share maps multiply values alone, and project to values and the output alone.
    own = 1 if block.knob("maps") == "shared" else 2
    products = own * feature_map.tokens**2 * feature_map.dim
    mixer = block.spec.cost(block.settings, block.pos, feature_map).macs
    return Split(
        globally=products, convolutions=mixer - products - 2 * own * feature_map.tokens * feature_map.dim**2
    )


def _dwconv(block: Block, feature_map: FeatureMap) -> Split:
    return Split(convolutions=feature_map.tokens * int(block.knob("kernel_size")) ** 2 * feature_map.dim)


def _outlook(block: Block, feature_map: FeatureMap) -> Split:
    stride, area = int(block.knob("stride")), int(block.knob("kernel_size")) ** 2
    centres = -(-feature_map.height // stride) * -(-feature_map.width // stride)
    return Split(local=centres * area**2 * feature_map.dim)


_SPENT: dict[str, Callable[[Block, FeatureMap], Split]] = {
    "lsa": _lsa,
    "gsa": _gsa,
    "cswin": _cswin,
    "dwconv": _dwconv,
    "refiner": _refiner,
    "swin": _lsa,
    "outlook": _outlook,
}
