"""LSA: locally-grouped self-attention (Twins, arXiv 2104.13840, section 3.2)."""

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
    windowed_tokens,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    return heads_incompatibility(feature_map) or side_incompatibility(
        "window_size", knobs["window_size"], feature_map
    )


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, window = feature_map.dim, int(knobs["window_size"])
    # Padding enters before qkv, so padded tokens are projected and attended to as well.
    padded = windowed_tokens(window, feature_map)
    macs = padded * 3 * dim * dim + 2 * padded * window**2 * dim + feature_map.tokens * dim * dim
    params = linear_params(dim, 3 * dim, feature_map.qkv_bias) + linear_params(dim, dim)
    if pos == "rpe":
        params += (2 * window - 1) ** 2 * feature_map.num_heads
    if pos == "lepe":
        params += 10 * dim
        macs += 9 * padded * dim
    return Cost(macs, params, working=4 * padded * dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    dim, window = feature_map.dim, int(knobs["window_size"])
    padded = windowed_tokens(window, feature_map)
    return AttentionTerms(
        local=2 * padded * window**2 * dim,
        convolutions=9 * padded * dim if pos == "lepe" else 0,
        window_area=window**2,
    )


OPERATOR = OperatorSpec(
    name="lsa",
    summary="attention inside windows of window_size x window_size",
    paper="Twins, arXiv 2104.13840",
    knobs={"window_size": Knob()},
    pos=("none", "ape", "rpe", "cpe", "lepe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"window_size": "w"},
)
