"""The original parameter names of the papers' modules, translated to ours.

A table maps dotted prefixes of the original to ours; the longest that fits wins and names that fit none
stay as they are. ``nest`` puts a table under a prefix, so that tables of blocks and networks are made of
those of their parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from torch import Tensor

Names = dict[str, str]

PEG: Names = {"proj.0": "conv"}
CSWIN_LEPE: Names = {"get_v": "lepe"}
CSWIN_STEM: Names = {"0": "conv", "2": "norm"}
REFINEMENT: Names = {
    "conv_exp": "expand",
    "bn1": "norm_expand",
    "depth_sep_conv": "depthwise",
    "bn2": "norm_depthwise",
    "conv_pro": "reduce",
    "bn3": "norm_reduce",
}
REFINER_STEM: Names = {"bn1": "norm1", "bn2": "norm2", "bn3": "norm3"}
DYNAMIC_DEPTHWISE: Names = {"conv1": "reduce", "bn": "norm", "conv2": "generate"}
INHOMOGENEOUS_DEPTHWISE: Names = {"conv1.0": "reduce", "conv1.1": "norm", "conv2.0": "generate"}
SWIN: Names = {"relative_position_bias_table": "rpe.table"}
OUTLOOK: Names = {"attn": "attention"}


def nest(original: str, ours: str, names: Names) -> Names:
    """Return ``names`` under the prefix ``original``, to stand under ``ours``."""
    return {original: ours, **{f"{original}.{key}": f"{ours}.{value}" for key, value in names.items()}}


REFINED: Names = {**nest("DLA", "refine", REFINEMENT), "adapt_bn": "norm"}
REFINED_SHARE: Names = {**REFINED, "qkv": "v"}
_DWBLOCK: Names = {
    "conv0": "pointwise_in",
    "bn0": "norm_in",
    "bn": "norm",
    "conv2": "pointwise_out",
    "bn2": "norm_out",
}
DWBLOCK: dict[str, Names] = {
    "none": {**_DWBLOCK, "conv": "depthwise"},
    "homogeneous": {**_DWBLOCK, **nest("conv", "depthwise", DYNAMIC_DEPTHWISE)},
    "inhomogeneous": {**_DWBLOCK, **nest("conv", "depthwise", INHOMOGENEOUS_DEPTHWISE)},
}


def rename(name: str, names: Names) -> str:
    """Return our name of the parameter that the original calls ``name``."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in names:
            return ".".join([names[prefix], *parts[length:]])
    return name


def translate(weights: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Return the original's weights as our state dict.

    Bias tables of square windows, ``((2 M - 1)^2, heads)``, become ``(2 M - 1, 2 M - 1, heads)``.
    """
    state = {}
    for name, value in weights.items():
        if name.endswith("relative_position_bias_table"):
            span = isqrt(value.shape[0])
            value = value.view(span, span, -1)
        state[rename(name, names)] = value
    return state
