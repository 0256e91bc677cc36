"""Architectures of the papers' networks, from the constructor arguments of the papers' own classes.

Any image size runs through a network, and only positions (DWNet's, Refiner-ViT's) depend on the declared
one: where an original is made for images too small for its windows, the design is declared for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.errors import ArchitectureError
from search_spaces.skeleton import Style

Arguments = Mapping[str, Any]


def fitting(build: Callable[[int], Architecture], side: int) -> Architecture:
    """Return the design for images of ``side`` px, or of as many times that as its windows ask for."""
    for times in range(1, 17):
        try:
            return build(side * times)
        except ArchitectureError:
            continue
    return build(side)


def stages(
    dims: Sequence[int], heads: Sequence[int], blocks: Sequence[Sequence[Block]], downsample: str
) -> tuple[Stage, ...]:
    rows = zip(dims, heads, blocks, strict=True)
    return tuple(Stage(d, h, tuple(row), downsample if i else None) for i, (d, h, row) in enumerate(rows))


def twins(a: Arguments) -> Architecture:
    """CPVTV2 (PCPVT) and ALTGVT (SVT), which has windows ``wss`` in every other block."""
    windows = a.get("wss", [1] * len(a["depths"]))
    blocks = [
        [
            twins_block(
                a["sr_ratios"][i], 1 if j % 2 else windows[i], "none" if j else "cpe", a["mlp_ratios"][i]
            )
            for j in range(depth)
        ]
        for i, depth in enumerate(a["depths"])
    ]
    style = Style(norm_eps=a.get("norm_eps", 1e-6), qkv_bias=bool(a.get("qkv_bias", False)))
    patch = a.get("patch_size", 4)
    return fitting(
        lambda side: Architecture(
            stages(a["embed_dims"], a["num_heads"], blocks, "conv2x2"),
            (side, side),
            in_channels=a.get("in_chans", 3),
            num_classes=a.get("num_classes", 1000),
            stem=f"patch{patch}x{patch}",
            style=style,
        ),
        a["img_size"],
    )


def twins_block(sr_ratio: int, window: int, pos: str, mlp_ratio: float) -> Block:
    """A window of 1 stands for sub-sampled attention."""
    if window == 1:
        return Block("gsa", (("sr_ratio", sr_ratio),), pos, mlp_ratio)
    return Block("lsa", (("window_size", window),), pos, mlp_ratio)


def cswin(a: Arguments) -> Architecture:
    """CSWinTransformer: a stripe as wide as the map is full attention, as is the last stage."""
    dims = [a["embed_dim"] * 2**i for i in range(len(a["depth"]))]
    return _cswin(a, dims, a["img_size"], bool(a.get("qkv_bias", True)))


def cswin_backbone(a: Arguments) -> Architecture:
    """The segmentation code's CSWin: stripes are stripes on any map, so all are declared on a larger one."""
    dims, heads, last = [a["embed_dim"]], a["num_heads"], len(a["depth"]) - 1
    for before, after in pairwise(heads):
        dims.append(dims[-1] * (after // before))
    needed = max((width + 1) * 2**i for i, width in enumerate(a["split_size"][:last]))
    return _cswin(a, dims, 4 * 2**last * -(-needed // 2**last), True)


def _cswin(a: Arguments, dims: Sequence[int], side: int, qkv_bias: bool) -> Architecture:
    widths = [min(width, side // 4 // 2**i) for i, width in enumerate(a["split_size"])]
    widths[-1] = side // 4 // 2 ** (len(widths) - 1)
    blocks = [
        [Block("cswin", (("stripe_width", width),), "lepe", a.get("mlp_ratio", 4.0))] * depth
        for width, depth in zip(widths, a["depth"], strict=True)
    ]
    return Architecture(
        stages(dims, a["num_heads"], blocks, "conv3x3"),
        (side, side),
        in_channels=a.get("in_chans", 3),
        num_classes=a.get("num_classes", 1000),
        stem="conv7x7_s4",
        style=Style(norm_eps=1e-5, qkv_bias=qkv_bias),
    )


def dwnet(a: Arguments, dynamic: str) -> Architecture:
    """DWNet; its absolute positions are those of the first block."""
    depths = a["depths"]
    blocks = []
    for i, depth in enumerate(depths):
        group = {"group_channels": a["inhomo_heads"][i]} if dynamic == "inhomogeneous" else {}
        knobs = {"kernel_size": a["window_size"], "dynamic": dynamic, **group}
        poses = ["ape" if a.get("ape") and not (i or j) else "none" for j in range(depth)]
        ratio = a.get("mlp_ratio", 4.0)
        blocks.append([Block("dwconv", tuple(knobs.items()), pos, ratio) for pos in poses])
    patch, norm = a.get("patch_size", 4), a.get("patch_norm", True)
    style = Style(norm_eps=1e-5, mixer_norm="none", mlp_norm="batch", stem_norm=norm)
    dims = [a["embed_dim"] * 2**i for i in range(len(depths))]
    return fitting(
        lambda side: Architecture(
            stages(dims, [1] * len(depths), blocks, "merging"),
            (side, side),
            in_channels=a.get("in_chans", 3),
            num_classes=a.get("num_classes", 1000),
            stem=f"patch{patch}x{patch}",
            style=style,
        ),
        a["img_size"],
    )


def refiner_style(a: Arguments, head: str = "mean") -> Style:
    eps, bias = a.get("norm_eps", 1e-5), bool(a.get("qkv_bias", False))
    return Style(eps, bias, mlp_scale=True, residual_scale=0.5, stem_norm=False, head=head)


def refiner_block(a: Arguments, shared: bool, transform: bool, first: bool) -> Block:
    """All blocks but the first are given maps; a sharing one refines by expansion 3, whatever is asked."""
    own = "refined" if transform else "plain"
    later = "previous" if transform else "plain_previous"
    maps = "shared" if shared else own if first else later
    expand = 3 if shared else a.get("head_expand", 3)
    refinement = {} if "plain" in maps else {"expand_ratio": expand, "kernel_size": 3}
    return Block("refiner", tuple({"maps": maps, **refinement}.items()), mlp_ratio=a.get("mlp_ratio", 4.0))


def refiner(a: Arguments) -> Architecture:
    shares, transforms = refiner_flags(a)
    blocks = tuple(
        refiner_block(a, shared, transform, first=number == 0)
        for number, (shared, transform) in enumerate(zip(shares, transforms, strict=True))
    )
    patch = f"{a.get('patch_size', 16)}x{a.get('patch_size', 16)}"
    return Architecture(
        (Stage(a["embed_dim"], a["num_heads"], blocks),),
        (a["img_size"], a["img_size"]),
        in_channels=a.get("in_chans", 3),
        num_classes=a.get("num_classes", 1000),
        stem=f"refiner{patch}" if a.get("use_cnn_embed", True) else f"patch{patch}",
        style=refiner_style(a, "dense_token" if a.get("return_dense", True) else "token"),
    )


def refiner_flags(a: Arguments) -> tuple[Sequence[bool], Sequence[bool]]:
    """Return which blocks share maps and which refine their own; a number of blocks means plain ones."""
    depth = a["depth"]
    if isinstance(depth, int):
        return [False] * depth, [False] * depth
    return depth, a["apply_transform"]
