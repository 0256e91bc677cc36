"""CSWin: cross-shaped window attention in stripes (arXiv 2107.00652, sections 3.2 and 3.3)."""

from __future__ import annotations

from search_spaces.operators._base import (
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    heads_incompatibility,
    linear_params,
    up,
)


def covers(stripe_width: int, feature_map: FeatureMap) -> bool:
    """Return whether one stripe covers the whole map, which makes it a single full-attention branch."""
    return stripe_width >= max(feature_map.height, feature_map.width)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    width, side = int(knobs["stripe_width"]), max(feature_map.height, feature_map.width)
    if width > side:
        return f"stripe_width {width} does not fit {feature_map}; use at most {side}"
    return heads_incompatibility(feature_map, parts=1 if covers(width, feature_map) else 2)


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, stripe = feature_map.dim, feature_map.tokens, int(knobs["stripe_width"])
    height, width, heads = feature_map.height, feature_map.width, feature_map.num_heads
    params = linear_params(dim, 3 * dim, feature_map.qkv_bias) + linear_params(dim, dim)
    macs = 4 * tokens * dim * dim
    if covers(stripe, feature_map):
        macs += 2 * tokens**2 * dim
        windowed = tokens * dim
        bias = (2 * height - 1) * (2 * width - 1) * heads
    else:
        columns, rows = height * up(width, stripe), up(height, stripe) * width
        macs += (columns * height * stripe + rows * stripe * width) * dim
        windowed = (columns + rows) * dim // 2
        bias = ((2 * height - 1) + (2 * width - 1)) * (2 * stripe - 1) * heads // 2
    if pos == "rpe":
        params += bias
    if pos == "lepe":
        params += 10 * dim
        macs += 9 * windowed
    return Cost(macs, params, working=3 * tokens * dim + 4 * windowed)


CSWIN = OperatorSpec(
    name="cswin",
    letter="C",
    summary="half the heads attend in vertical, half in horizontal stripes of stripe_width",
    paper="CSWin, arXiv 2107.00652",
    knobs={"stripe_width": Knob()},
    pos=("none", "ape", "rpe", "cpe", "lepe"),
    incompatibility=_incompatibility,
    cost=_cost,
    short={"stripe_width": "w"},
)
