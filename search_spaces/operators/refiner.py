"""Refiner: attention whose maps are expanded, convolved and reduced (arXiv 2106.03714, sections 3.2, 3.3)."""

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
)

MAX_TOKENS = 1024  # N x N maps of every head are materialised: beyond this no GPU holds a useful batch
REFINING = ("refined", "previous", "shared")


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    if feature_map.tokens > MAX_TOKENS:
        return (
            f"refiner materialises maps of all pairs of positions and {feature_map} has {feature_map.tokens} "
            f"positions; use it where there are at most {MAX_TOKENS}"
        )
    kernel, largest = int(knobs.get("kernel_size", 1)), 2 * feature_map.tokens - 1
    if kernel > largest:
        return f"kernel_size {kernel} reaches beyond an attention map of {feature_map}; use at most {largest}"
    return heads_incompatibility(feature_map)


def _pos_has_no_effect(knobs: Knobs, pos: str) -> bool:
    # Shared maps have no logits of their own that a bias could be added to.
    return pos == "rpe" and knobs["maps"] == "shared"


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, heads = feature_map.dim, feature_map.tokens, feature_map.num_heads
    pairs, shared = tokens**2, knobs["maps"] == "shared"
    projected = dim if shared else 3 * dim  # values alone, or queries, keys and values
    macs = tokens * dim * (projected + dim) + (1 if shared else 2) * pairs * dim
    params = linear_params(dim, projected, feature_map.qkv_bias) + linear_params(dim, dim)
    working = 3 * tokens * dim + 2 * pairs * heads
    if knobs["maps"] in REFINING:
        expand, area = int(knobs["expand_ratio"]), int(knobs["kernel_size"]) ** 2
        hidden = heads * expand
        macs += pairs * hidden * (area + heads)
        params += hidden * area + 2 * hidden + hidden * heads + 2 * heads + 2 * heads
        if expand > 1:
            macs += pairs * heads * hidden
            params += heads * hidden + 2 * hidden
        working = 3 * tokens * dim + pairs * (heads + 2 * hidden)
    if pos == "rpe":
        params += (2 * feature_map.height - 1) * (2 * feature_map.width - 1) * heads
    return Cost(macs, params, working)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    dim, tokens = feature_map.dim, feature_map.tokens
    # A block that shares attention maps multiplies values alone, and projects to values and the output alone.
    products = 1 if knobs["maps"] == "shared" else 2
    attended, projected = products * tokens**2 * dim, 2 * products * tokens * dim**2
    refining = _cost(knobs, pos, feature_map).macs - attended - projected
    return AttentionTerms(globally=attended, convolutions=refining)


#: ``maps`` says which attention maps a block applies: its own, ``refined`` or ``plain``; its own with those
#: of the block before added, refined (``previous``) or not (``plain_previous``); or no own at all but those
#: of the block before, refined (``shared``; the published networks' share_atten).
OPERATOR = OperatorSpec(
    name="refiner",
    summary="global attention whose maps pass a head-expanding convolution before they are applied",
    paper="Refiner, arXiv 2106.03714",
    knobs={
        "expand_ratio": Knob(when=("maps", *REFINING)),
        "kernel_size": Knob(odd=True, when=("maps", *REFINING)),
        "maps": Knob(
            kind=str,
            allowed=("refined", "plain", "previous", "plain_previous", "shared"),
            default="refined",
            needs_predecessor=("previous", "plain_previous", "shared"),
        ),
    },
    pos=("none", "ape", "rpe", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"expand_ratio": "e", "kernel_size": "k", "maps": ""},
    pos_has_no_effect=_pos_has_no_effect,
    returns_attention=True,
    admits_class_token=True,
)
