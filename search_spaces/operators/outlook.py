"""Outlook attention (VOLO, arXiv 2106.13112, section 3.1)."""

from __future__ import annotations

from search_spaces.operators._base import (
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    fit_side,
    heads_incompatibility,
    linear_params,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    kernel, stride, side = (
        int(knobs["kernel_size"]),
        int(knobs["stride"]),
        min(feature_map.height, feature_map.width),
    )
    if kernel > max(3, 2 * side - 1):
        return f"kernel_size {kernel} reaches beyond {feature_map}; use at most {max(3, 2 * side - 1)}"
    if stride > kernel:
        return f"stride {stride} leaves positions outside every neighbourhood of kernel_size {kernel}"
    return heads_incompatibility(feature_map) or fit_side("stride", stride, feature_map)


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, heads, stride = (
        feature_map.dim,
        feature_map.tokens,
        feature_map.num_heads,
        int(knobs["stride"]),
    )
    area = int(knobs["kernel_size"]) ** 2
    centres = -(-feature_map.height // stride) * -(-feature_map.width // stride)
    macs = 2 * tokens * dim * dim + centres * (dim * heads * area**2 + area**2 * dim)
    params = (
        linear_params(dim, dim, feature_map.qkv_bias)
        + linear_params(dim, heads * area**2)
        + linear_params(dim, dim)
    )
    return Cost(macs, params, working=centres * (heads * area**2 + 2 * area * dim) + tokens * dim)


OUTLOOK = OperatorSpec(
    name="outlook",
    letter="O",
    summary="a position's features give the attention among its kernel_size x kernel_size neighbours",
    paper="VOLO, arXiv 2106.13112",
    knobs={"kernel_size": Knob(minimum=3, odd=True), "stride": Knob()},
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    short={"kernel_size": "k", "stride": "s"},
)
