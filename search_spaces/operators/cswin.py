"""CSWin: cross-shaped window attention in stripes (arXiv 2107.00652, sections 3.2 and 3.3)."""

from __future__ import annotations

from search_spaces.operators._base import (
    AttentionTerms,
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    heads_incompatibility,
    linear_params,
    round_up,
)


def covers(stripe_width: int, feature_map: FeatureMap) -> bool:
    """Return whether one stripe covers the whole map, which makes it a single full-attention branch."""
    return stripe_width >= max(feature_map.height, feature_map.width)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    width, side = int(knobs["stripe_width"]), max(feature_map.height, feature_map.width)
    if width > side:
        return f"stripe_width {width} does not fit {feature_map}; use at most {side}"
    if why := heads_incompatibility(feature_map):
        return why
    if feature_map.num_heads % 2 and not covers(width, feature_map):
        return f"{feature_map.num_heads} heads cannot be halved between the two stripe directions"
    return None


def _striped_tokens(stripe: int, feature_map: FeatureMap) -> tuple[int, int]:
    """Return the positions of all vertical and of all horizontal stripes, padding included."""
    height, width = feature_map.height, feature_map.width
    return height * round_up(width, stripe), round_up(height, stripe) * width


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
        columns, rows = _striped_tokens(stripe, feature_map)
        macs += (columns * height * stripe + rows * stripe * width) * dim
        windowed = (columns + rows) * dim // 2
        bias = ((2 * height - 1) + (2 * width - 1)) * (2 * stripe - 1) * heads // 2
    if pos == "rpe":
        params += bias
    if pos == "lepe":
        params += 10 * dim
        macs += 9 * windowed
    return Cost(macs, params, working=3 * tokens * dim + 4 * windowed)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    dim, tokens, stripe = feature_map.dim, feature_map.tokens, int(knobs["stripe_width"])
    lepe = 9 if pos == "lepe" else 0
    if covers(stripe, feature_map):
        return AttentionTerms(globally=2 * tokens**2 * dim, convolutions=lepe * tokens * dim)
    columns, rows = _striped_tokens(stripe, feature_map)
    return AttentionTerms(
        local=(columns * feature_map.height + rows * feature_map.width) * stripe * dim,
        convolutions=lepe * ((columns + rows) * dim // 2),
        window_area=stripe * max(feature_map.height, feature_map.width),
    )


OPERATOR = OperatorSpec(
    name="cswin",
    summary="half the heads attend in vertical, half in horizontal stripes of stripe_width",
    paper="CSWin, arXiv 2107.00652",
    knobs={"stripe_width": Knob()},
    pos=("none", "ape", "rpe", "cpe", "lepe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"stripe_width": "w"},
)
