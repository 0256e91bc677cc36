"""Average pooling in place of attention (PoolFormer, arXiv 2111.11418, eq. 4)."""

from __future__ import annotations

from search_spaces.operators._base import (
    AttentionTerms,
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    kernel_incompatibility,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    return kernel_incompatibility("pool_size", knobs["pool_size"], feature_map)


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    # Means are neither products of matrices nor convolutions: additions, which are not counted.
    return Cost(working=2 * feature_map.tokens * feature_map.dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    return AttentionTerms()


OPERATOR = OperatorSpec(
    name="pool",
    summary="mean of the pool_size x pool_size positions around each, less the position itself",
    paper="MetaFormer, arXiv 2111.11418",
    knobs={"pool_size": Knob(minimum=3, odd=True)},
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"pool_size": "p"},
)
