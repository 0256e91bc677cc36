"""Swin: shifted windows with relative position bias (arXiv 2103.14030, section 3.2)."""

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


def shift_size(knobs: Knobs) -> int:
    """Return by how many rows and columns the map is moved: half a window, or none."""
    return int(knobs["window_size"]) // 2 if knobs["shift"] == "half" else 0


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    window = int(knobs["window_size"])
    if why := heads_incompatibility(feature_map) or side_incompatibility("window_size", window, feature_map):
        return why
    if knobs["shift"] == "half" and window == 1:
        return "half a window of 1 is no shift; use shift none"
    if shift_size(knobs) and window >= max(feature_map.height, feature_map.width):
        return (
            f"a window of {window} covers {feature_map}, so that a shift would only part it; use shift none"
        )
    return None


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, window = feature_map.dim, int(knobs["window_size"])
    # Padding enters before qkv, so padded tokens are projected and attended to as well.
    padded = windowed_tokens(window, feature_map)
    macs = padded * 3 * dim * dim + 2 * padded * window**2 * dim + feature_map.tokens * dim * dim
    params = linear_params(dim, 3 * dim, feature_map.qkv_bias) + linear_params(dim, dim)
    params += (2 * window - 1) ** 2 * feature_map.num_heads
    return Cost(macs, params, working=4 * padded * dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    window = int(knobs["window_size"])
    products = 2 * windowed_tokens(window, feature_map) * window**2 * feature_map.dim
    return AttentionTerms(local=products, window_area=window**2)


OPERATOR = OperatorSpec(
    name="swin",
    summary="attention inside windows of window_size x window_size, shifted by half a window or not",
    paper="Swin, arXiv 2103.14030",
    knobs={"window_size": Knob(), "shift": Knob(kind=str, allowed=("none", "half"))},
    # The relative position bias is a part of the operator: a block always says so. LSA is the one without.
    pos=("rpe",),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"window_size": "w", "shift": "s"},
)
