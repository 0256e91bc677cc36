"""The original parameter names of the papers' modules, translated to ours.

A table maps dotted prefixes of the original to ours; the longest that fits wins and names that fit none
stay as they are. ``nest`` puts a table under a prefix, so that tables of blocks and networks are made of
those of their parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
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


TWINS_BLOCK: Names = {"attn": "mixer"}
CSWIN_BLOCK: Names = {
    "qkv": "mixer.qkv",
    "proj": "mixer.proj",
    **{f"attns.{branch}.get_v": "mixer.lepe" for branch in (0, 1)},
}
DWNET_BLOCK: dict[str, Names] = {
    dynamic: {**nest("attn2conv", "mixer", table), "bn": "norm2"} for dynamic, table in DWBLOCK.items()
}
SWIN_BLOCK: Names = nest("attn", "mixer", SWIN)


def refiner_block(shared: bool) -> Names:
    """Return the names of a Refiner block."""
    return {**nest("attn", "mixer", REFINED_SHARE if shared else REFINED), "mlp.scale_channel": "mlp.scale"}


def twins(depths: Sequence[int]) -> Names:
    """Return the names of a Twins network."""
    table: Names = {}
    for stage, depth in enumerate(depths):
        embedding = f"stages.{stage}.downsample" if stage else "stem"
        table |= {f"patch_embeds.{stage}": embedding, f"patch_embeds.{stage}.proj": f"{embedding}.conv"}
        table |= nest(f"pos_block.{stage}", f"stages.{stage}.blocks.0.after", PEG)
        for block in range(depth):
            table |= nest(f"blocks.{stage}.{block}", f"stages.{stage}.blocks.{block}", TWINS_BLOCK)
    return table


def cswin(depths: Sequence[int]) -> Names:
    """Return the names of a CSWin network, and of its segmentation backbone."""
    table = nest("stage1_conv_embed", "stem", CSWIN_STEM)
    for stage, depth in enumerate(depths):
        table |= {f"merge{stage}": f"stages.{stage}.downsample", f"norm{stage + 1}": f"norms.{stage}"}
        for block in range(depth):
            table |= nest(f"stage{stage + 1}.{block}", f"stages.{stage}.blocks.{block}", CSWIN_BLOCK)
    return table


def dwnet(depths: Sequence[int], dynamic: str) -> Names:
    """Return the names of a DWNet."""
    table = {
        **nest("patch_embed", "stem", {"proj": "conv"}),
        "absolute_pos_embed": "stages.0.blocks.0.before.table",
    }
    for stage, depth in enumerate(depths):
        table[f"layers.{stage}.downsample"] = f"stages.{stage + 1}.downsample"
        for block in range(depth):
            table |= nest(
                f"layers.{stage}.blocks.{block}", f"stages.{stage}.blocks.{block}", DWNET_BLOCK[dynamic]
            )
    return table


def refiner(shares: Sequence[bool], convolutions: bool) -> Names:
    """Return the names of a Refiner-ViT with or without convolutions in its stem."""
    stem = REFINER_STEM if convolutions else {"proj": "conv"}
    table = {
        **nest("patch_embed", "stem.patches", stem),
        "cls_token": "stem.token",
        "pos_embed": "stem.table",
    }
    for block, shared in enumerate(shares):
        table |= nest(f"blocks.{block}", f"stages.0.blocks.{block}", refiner_block(shared))
    return table


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

    Bias tables of square windows, ``((2 M - 1)^2, heads)``, become ``(2 M - 1, 2 M - 1, heads)``; tokens and
    their positions, ``(1, N, C)``, a map of one row, and DWNet's positions a square one. Originals that share
    a name of ours, as the convolutions of CSWin's branches do, are joined in their order.
    """
    state: dict[str, Tensor] = {}
    for name, value in sorted(weights.items()):
        if name.endswith("relative_position_bias_table"):
            span = isqrt(value.shape[0])
            value = value.view(span, span, -1)
        elif name in ("cls_token", "pos_embed"):
            value = value.unsqueeze(1)
        elif name == "absolute_pos_embed":
            side = isqrt(value.shape[1])
            value = value.view(1, side, side, -1)
        ours = rename(name, names)
        state[ours] = torch.cat([state[ours], value]) if ours in state else value
    return state
