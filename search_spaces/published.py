"""The papers' networks as architectures, by name, with what their authors state.

Parameters and MACs of these equal those counted on the authors' code, to the last digit: the table is in
``PUBLISHED.md``, which ``published_table.py`` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.errors import ArchitectureError, nearest
from search_spaces.skeleton import Style

_SR_RATIOS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Claim:
    """What the authors of a published network state about it, rounded as they round.

    Args:
        paper: Title and arXiv number.
        params: Parameters, such as ``24.1M``; None where nothing is stated.
        flops: Multiply-accumulates, which the papers call FLOPs, such as ``3.7G``.
        top1: ImageNet-1k top-1 in percent.
        note: Under which circumstances, where they differ from training on ImageNet-1k, and what of the
            published code cannot be built or run.
    """

    paper: str
    params: str | None = None
    flops: str | None = None
    top1: float | None = None
    note: str = ""


def _stages(
    dims: Sequence[int], heads: Sequence[int], blocks: Sequence[Sequence[Block]], downsample: str
) -> tuple[Stage, ...]:
    return tuple(
        Stage(dim, count, tuple(row), downsample if index else None)
        for index, (dim, count, row) in enumerate(zip(dims, heads, blocks, strict=True))
    )


def _twins_pcpvt(depths: Sequence[int]) -> Architecture:
    """Twins-PCPVT (arXiv 2104.13840, section 3.1, table 1): GSA throughout, PEG after each first block."""
    ratios = zip(depths, _SR_RATIOS, (8, 8, 4, 4), strict=True)
    blocks = [
        [Block("gsa", (("sr_ratio", sr),), _peg(index), mlp) for index in range(depth)]
        for depth, sr, mlp in ratios
    ]
    return Architecture(_stages((64, 128, 320, 512), (1, 2, 5, 8), blocks, "conv2x2"))


def _twins_svt(dim: int, head_dim: int, depths: Sequence[int]) -> Architecture:
    """Twins-SVT (arXiv 2104.13840, section 3.2, table 2): LSA and GSA by turns, PEG likewise."""
    dims = [dim * 2**stage for stage in range(4)]
    blocks = [
        [
            Block("gsa", (("sr_ratio", sr),), _peg(index))
            if index % 2
            else Block("lsa", (("window_size", 7),), _peg(index))
            for index in range(depth)
        ]
        for depth, sr in zip(depths, _SR_RATIOS, strict=True)
    ]
    return Architecture(_stages(dims, [width // head_dim for width in dims], blocks, "conv2x2"))


def _peg(index: int) -> str:
    """Return the encoding of a stage's block at ``index``: PEG after the first alone."""
    return "none" if index else "cpe"


def _cswin(
    dim: int, heads: Sequence[int], depths: Sequence[int], image_size: int = 224, widest: int = 7
) -> Architecture:
    """CSWin (arXiv 2107.00652, section 3.4, table 1): stripes of 1, 2, ``widest``, then the whole map."""
    dims = [dim * 2**stage for stage in range(4)]
    blocks = [
        [Block("cswin", (("stripe_width", width),), "lepe")] * depth
        for depth, width in zip(depths, (1, 2, widest, widest), strict=True)
    ]
    return Architecture(
        _stages(dims, heads, blocks, "conv3x3"),
        (image_size, image_size),
        stem="conv7x7_s4",
        style=Style(norm_eps=1e-5),
    )


def _swin(dim: int, heads: int, depths: Sequence[int]) -> Architecture:
    """Swin (arXiv 2103.14030, section 3.3): every second block's windows are shifted, but for the whole map's."""
    sides = [56 // 2**stage for stage in range(4)]
    blocks = [
        [
            Block(
                "swin", (("window_size", 7), ("shift", "half" if number % 2 and side > 7 else "none")), "rpe"
            )
            for number in range(depth)
        ]
        for depth, side in zip(depths, sides, strict=True)
    ]
    dims, counts = [dim * 2**stage for stage in range(4)], [heads * 2**stage for stage in range(4)]
    return Architecture(_stages(dims, counts, blocks, "merging"), style=Style(norm_eps=1e-5))


def _refiner_vit(dim: int, heads: int, depth: int) -> Architecture:
    """Refiner-ViT (arXiv 2106.03714, section 4, table 1), as its published code builds it.

    Plain attention and blocks that share its refined maps take turns; the plain ones add the maps of the
    block before. Expansion and kernel are 3 in sharing blocks, whatever the code is asked for.
    """
    shared = (("maps", "shared"), ("expand_ratio", 3), ("kernel_size", 3))
    blocks = tuple(
        Block(
            "refiner",
            shared if number % 2 else (("maps", "plain_previous" if number else "plain"),),
            mlp_ratio=3,
        )
        for number in range(depth)
    )
    style = Style(mlp_scale=True, residual_scale=0.5, stem_norm=False, head="dense_token")
    return Architecture((Stage(dim, heads, blocks),), stem="refiner16x16", style=style)


def _dwnet(dim: int, depths: Sequence[int], dynamic: str = "none") -> Architecture:
    """DWNet (arXiv 2106.04263, section 4.1): 7x7 depth-wise convolutions on Swin's skeleton.

    The inhomogeneous form predicts one kernel for as many channels as Swin has heads there.
    """
    dims = [dim * 2**stage for stage in range(4)]
    blocks = []
    for width, depth in zip(dims, depths, strict=True):
        group = {"group_channels": width // 32} if dynamic == "inhomogeneous" else {}
        knobs = {"kernel_size": 7, "dynamic": dynamic, **group}
        blocks.append([Block("dwconv", tuple(knobs.items()))] * depth)
    style = Style(norm_eps=1e-5, mixer_norm="none", mlp_norm="batch")
    return Architecture(_stages(dims, (1, 1, 1, 1), blocks, "merging"), style=style)


_TWINS = "Twins, arXiv 2104.13840"
_CSWIN = "CSWin, arXiv 2107.00652"
_DWNET = "Local ViT, arXiv 2106.04263"
_SWIN = "Swin, arXiv 2103.14030"
_REFINER = "Refiner, arXiv 2106.03714"
_IN22K = "pre-trained on ImageNet-22k"

#: What the authors' code does other than their paper says, or cannot do.
_LIST = "the published class cannot be built with its defaults (inhomo_heads must be a list even where it is unused)"
_SLIP = (
    "the published class cannot build this network: an if/else slip makes its convolutions static; counted with "
    "the dynamic ones of the same file, whose size is the stated one"
)
_CUDA = (
    "the published class is built but runs on CUDA alone (a cupy kernel); counted with the kernel's products; "
    "its authors' README states neither size nor accuracy"
)
_SHARING = "the published code refines maps in sharing blocks alone, with expansion 3 whatever is asked"

_TINY, _BASE = (2, 2, 6, 2), (2, 2, 18, 2)
_CSWIN_B, _CSWIN_L = (96, (4, 8, 16, 32), (2, 4, 32, 2)), (144, (6, 12, 24, 24), (2, 4, 32, 2))

_TABLE: dict[str, tuple[Callable[[], Architecture], Claim]] = {
    "twins_pcpvt_small": (partial(_twins_pcpvt, (3, 4, 6, 3)), Claim(_TWINS, "24.1M", "3.7G", 81.2)),
    "twins_pcpvt_base": (partial(_twins_pcpvt, (3, 4, 18, 3)), Claim(_TWINS, "43.8M", "6.4G", 82.7)),
    "twins_pcpvt_large": (partial(_twins_pcpvt, (3, 8, 27, 3)), Claim(_TWINS, "60.9M", "9.5G", 83.1)),
    "twins_svt_small": (partial(_twins_svt, 64, 32, (2, 2, 10, 4)), Claim(_TWINS, "24M", "2.8G", 81.7)),
    "twins_svt_base": (partial(_twins_svt, 96, 32, _BASE), Claim(_TWINS, "56M", "8.3G", 83.2)),
    "twins_svt_large": (partial(_twins_svt, 128, 32, _BASE), Claim(_TWINS, "99.2M", "14.8G", 83.7)),
    "cswin_tiny": (partial(_cswin, 64, (2, 4, 8, 16), (1, 2, 21, 1)), Claim(_CSWIN, "23M", "4.3G", 82.8)),
    "cswin_small": (partial(_cswin, 64, (2, 4, 8, 16), (2, 4, 32, 2)), Claim(_CSWIN, "35M", "6.9G", 83.6)),
    "cswin_base": (partial(_cswin, *_CSWIN_B), Claim(_CSWIN, "78M", "15.0G", 84.2)),
    "cswin_large": (partial(_cswin, *_CSWIN_L), Claim(_CSWIN, "173M", "31.5G", 86.5, _IN22K)),
    "cswin_base_384": (partial(_cswin, *_CSWIN_B, 384, 12), Claim(_CSWIN, "78M", "47.0G", 85.5)),
    "cswin_large_384": (partial(_cswin, *_CSWIN_L, 384, 12), Claim(_CSWIN, "173M", "96.8G", 87.5, _IN22K)),
    "dwnet_tiny": (partial(_dwnet, 96, _TINY), Claim(_DWNET, "24M", "3.8G", 81.2, _LIST)),
    "dwnet_base": (partial(_dwnet, 128, _BASE), Claim(_DWNET, "74M", "12.9G", 83.2, _LIST)),
    "dwnet_tiny_dynamic": (
        partial(_dwnet, 96, _TINY, "homogeneous"),
        Claim(_DWNET, "51M", "3.8G", 81.8, _SLIP),
    ),
    "dwnet_base_dynamic": (
        partial(_dwnet, 128, _BASE, "homogeneous"),
        Claim(_DWNET, "162M", "13.0G", 83.2, _SLIP),
    ),
    "dwnet_tiny_inhomogeneous": (partial(_dwnet, 96, _TINY, "inhomogeneous"), Claim(_DWNET, note=_CUDA)),
    "dwnet_base_inhomogeneous": (partial(_dwnet, 128, _BASE, "inhomogeneous"), Claim(_DWNET, note=_CUDA)),
    "refiner_vit_small": (
        partial(_refiner_vit, 384, 12, 16),
        Claim(_REFINER, "25M", top1=83.6, note=_SHARING),
    ),
    "refiner_vit_medium": (
        partial(_refiner_vit, 420, 12, 32),
        Claim(_REFINER, "55M", top1=84.6, note=_SHARING),
    ),
    "refiner_vit_large": (
        partial(_refiner_vit, 512, 16, 32),
        Claim(_REFINER, "81M", top1=84.9, note=_SHARING),
    ),
    "swin_tiny": (partial(_swin, 96, 3, _TINY), Claim(_SWIN, "29M", "4.5G", 81.3)),
    "swin_small": (partial(_swin, 96, 3, _BASE), Claim(_SWIN, "50M", "8.7G", 83.0)),
    "swin_base": (partial(_swin, 128, 4, _BASE), Claim(_SWIN, "88M", "15.4G", 83.5)),
}

#: What builds each published network.
PUBLISHED: dict[str, Callable[[], Architecture]] = {name: build for name, (build, _) in _TABLE.items()}

#: What the authors of each state.
CLAIMS: dict[str, Claim] = {name: claim for name, (_, claim) in _TABLE.items()}


def published(name: str) -> Architecture:
    """Return the published network called ``name``.

    Raises:
        ArchitectureError: If there is none, naming the nearest spelling.
    """
    if name not in PUBLISHED:
        raise ArchitectureError(f"unknown design '{name}' ({nearest(name, PUBLISHED)})")
    return PUBLISHED[name]()
