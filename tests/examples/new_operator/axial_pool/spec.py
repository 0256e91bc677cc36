"""What a space needs to know of axial pooling, without torch: knobs, encodings, limits, cost."""

from __future__ import annotations

from search_spaces.operators import AttentionTerms, Cost, FeatureMap, Knob, Knobs, OperatorSpec, linear_params


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    length, largest = int(knobs["pool_length"]), 2 * max(feature_map.height, feature_map.width) - 1
    if length > largest:
        return f"pool_length {length} reaches beyond {feature_map}; use at most {largest}"
    return None


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens = feature_map.dim, feature_map.tokens
    # Two projections and two scales; averages are no products of matrices and are not counted.
    params = linear_params(dim, dim, feature_map.qkv_bias) + linear_params(dim, dim) + 2 * dim
    return Cost(2 * tokens * dim * dim, params, working=3 * tokens * dim)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    # Neither attention nor convolutions: all of the cost is projections.
    return AttentionTerms()


OPERATOR = OperatorSpec(
    name="axial_pool",
    summary="every position adds the averages over pool_length neighbours of its column and of its row",
    paper="an example, of no paper",
    knobs={"pool_length": Knob(minimum=3, odd=True)},
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"pool_length": "p"},
    implementation="axial_pool.mixer",
)
