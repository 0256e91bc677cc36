"""ReLU linear attention with a depth-wise convolution of the values (EfficientViT, arXiv 2205.14756, section 3.1)."""

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
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    return kernel_incompatibility("kernel_size", knobs["kernel_size"], feature_map) or heads_incompatibility(
        feature_map
    )


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, area = feature_map.dim, feature_map.tokens, int(knobs["kernel_size"]) ** 2
    terms = _attention_terms(knobs, pos, feature_map)
    macs = 4 * tokens * dim * dim + terms.globally + terms.convolutions
    params = (
        linear_params(dim, 3 * dim, feature_map.qkv_bias) + linear_params(dim, dim) + linear_params(area, dim)
    )
    # Projections, queries and keys after the ReLU, the products of a head, and numerators and their quotients.
    return Cost(macs, params, working=7 * tokens * dim + dim * dim // feature_map.num_heads)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    dim, tokens, area = feature_map.dim, feature_map.tokens, int(knobs["kernel_size"]) ** 2
    # Keys with values, and queries with what that gives, d x d numbers a head. Normalisation is not counted.
    products = 2 * tokens * dim * (dim // feature_map.num_heads)
    return AttentionTerms(globally=products, convolutions=tokens * area * dim)


OPERATOR = OperatorSpec(
    name="linear",
    summary="ReLU linear attention of all positions, and a kernel_size convolution of the values",
    paper="EfficientViT, arXiv 2205.14756; FLatten Transformer, arXiv 2308.00442",
    knobs={"kernel_size": Knob(minimum=3, odd=True)},
    # LePE is left out: the convolution of the values is one, with a kernel_size of its own.
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"kernel_size": "k"},
)
