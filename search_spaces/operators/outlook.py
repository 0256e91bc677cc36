"""Outlook attention (VOLO, arXiv 2106.13112, section 3.1)."""

from __future__ import annotations

from search_spaces.operators._base import (
    AttentionTerms,
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    heads_incompatibility,
    kernel_incompatibility,
    linear_params,
    side_incompatibility,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    kernel, stride = int(knobs["kernel_size"]), int(knobs["stride"])
    if why := kernel_incompatibility("kernel_size", kernel, feature_map):
        return why
    if stride > kernel:
        return f"stride {stride} leaves positions outside every neighbourhood of kernel_size {kernel}"
    return heads_incompatibility(feature_map) or side_incompatibility("stride", stride, feature_map)


def _num_centres(knobs: Knobs, feature_map: FeatureMap) -> int:
    stride = int(knobs["stride"])
    return -(-feature_map.height // stride) * -(-feature_map.width // stride)


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, heads = feature_map.dim, feature_map.tokens, feature_map.num_heads
    area, centres = int(knobs["kernel_size"]) ** 2, _num_centres(knobs, feature_map)
    macs = 2 * tokens * dim * dim + centres * (dim * heads * area**2 + area**2 * dim)
    params = (
        linear_params(dim, dim, feature_map.qkv_bias)
        + linear_params(dim, heads * area**2)
        + linear_params(dim, dim)
    )
    return Cost(macs, params, working=centres * (heads * area**2 + 2 * area * dim) + tokens * dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    area = int(knobs["kernel_size"]) ** 2
    return AttentionTerms(local=_num_centres(knobs, feature_map) * area**2 * feature_map.dim)


OPERATOR = OperatorSpec(
    name="outlook",
    summary="a position's features give the attention among its kernel_size x kernel_size neighbours",
    paper="VOLO, arXiv 2106.13112",
    knobs={"kernel_size": Knob(minimum=3, odd=True), "stride": Knob()},
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"kernel_size": "k", "stride": "s"},
)
