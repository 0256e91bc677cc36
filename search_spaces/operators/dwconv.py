"""Depth-wise convolution, static and dynamic (Demystifying Local ViT, arXiv 2106.04263, sections 2 and 3)."""

from __future__ import annotations

from search_spaces.operators._base import (
    AttentionTerms,
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    OperatorSpec,
    kernel_incompatibility,
    linear_params,
)


def _incompatibility(knobs: Knobs, feature_map: FeatureMap) -> str | None:
    if why := kernel_incompatibility("kernel_size", knobs["kernel_size"], feature_map):
        return why
    group = int(knobs.get("group_channels", 1))
    if feature_map.dim % group:
        return f"{feature_map.dim} channels cannot be divided into groups of {group}"
    if knobs["dynamic"] != "none" and feature_map.dim < 4:
        return f"a dynamic kernel needs at least 4 channels, not {feature_map.dim}"
    return None


def _cost(knobs: Knobs, pos: str, feature_map: FeatureMap) -> Cost:
    dim, tokens, area = feature_map.dim, feature_map.tokens, int(knobs["kernel_size"]) ** 2
    # Two point-wise convolutions without bias, three BatchNorms, and the depth-wise product itself.
    macs = 2 * tokens * dim * dim + tokens * area * dim
    params = 2 * dim * dim + 6 * dim
    working = 2 * tokens * dim
    squeezed = dim // 4
    if knobs["dynamic"] == "none":
        params += area * dim + dim
    elif knobs["dynamic"] == "homogeneous":
        macs += dim * squeezed + squeezed * dim * area
        params += dim * squeezed + 2 * squeezed + linear_params(squeezed, dim * area) + dim
        working += dim * area
    else:
        outputs = area * dim // int(knobs["group_channels"])
        macs += tokens * (dim * squeezed + squeezed * outputs)
        params += linear_params(dim, squeezed) + 2 * squeezed + linear_params(squeezed, outputs)
        working += tokens * (outputs + dim * area)
    return Cost(macs, params, working)


def _attention_terms(knobs: Knobs, pos: str, feature_map: FeatureMap) -> AttentionTerms:
    return AttentionTerms(convolutions=feature_map.tokens * int(knobs["kernel_size"]) ** 2 * feature_map.dim)


OPERATOR = OperatorSpec(
    name="dwconv",
    summary="depth-wise convolution of kernel_size, its kernel static or computed from the image",
    paper="On the Connection between Local Attention and Dynamic Depth-wise Convolution, arXiv 2106.04263",
    knobs={
        "kernel_size": Knob(minimum=3, odd=True),
        "dynamic": Knob(kind=str, allowed=("none", "homogeneous", "inhomogeneous")),
        "group_channels": Knob(when=("dynamic", "inhomogeneous")),
    },
    pos=("none", "ape", "cpe"),
    incompatibility=_incompatibility,
    cost=_cost,
    attention_terms=_attention_terms,
    short={"kernel_size": "k", "dynamic": "", "group_channels": "g"},
)
