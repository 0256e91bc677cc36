"""GSA: global sub-sampled attention (Twins, arXiv 2104.13840, section 3.2; PVT's spatial reduction)."""

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
    side_incompatibility,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    if feature_map.class_token and knobs["sr_ratio"] != 1:
        return "a sequence with a class token cannot be sub-sampled; use sr_ratio 1"
    return heads_incompatibility(feature_map) or side_incompatibility(
        "sr_ratio", knobs["sr_ratio"], feature_map
    )


def _num_keys(knobs: Knobs, feature_map: FeatureMap) -> int:
    ratio = int(knobs["sr_ratio"])
    if ratio == 1:
        return feature_map.tokens
    return (feature_map.height // ratio) * (feature_map.width // ratio)


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, ratio, tokens = feature_map.dim, int(knobs["sr_ratio"]), feature_map.tokens
    keys = _num_keys(knobs, feature_map)
    macs = 2 * tokens * dim * dim + keys * 2 * dim * dim + 2 * tokens * keys * dim
    params = (
        linear_params(dim, dim, feature_map.qkv_bias)
        + linear_params(dim, 2 * dim, feature_map.qkv_bias)
        + linear_params(dim, dim)
    )
    if ratio > 1:
        macs += keys * ratio**2 * dim * dim
        params += linear_params(ratio**2 * dim, dim) + 2 * dim
    return Cost(macs, params, working=2 * tokens * dim + 3 * keys * dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    products = 2 * feature_map.tokens * _num_keys(knobs, feature_map) * feature_map.dim
    return AttentionTerms(globally=products, key_area=int(knobs["sr_ratio"]) ** 2)


OPERATOR = OperatorSpec(
    name="gsa",
    summary="every position attends to a map sub-sampled sr_ratio-fold",
    paper="Twins, arXiv 2104.13840; PVT, arXiv 2102.12122",
    knobs={"sr_ratio": Knob()},
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"sr_ratio": "s"},
    admits_class_token=True,
)
