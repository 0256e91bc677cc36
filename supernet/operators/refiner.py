"""Refiner: attention whose maps are expanded, convolved and reduced (arXiv 2106.03714, sections 3.2, 3.3).

The softmaxed maps of all heads, ``(B, heads, N, N)``, are lifted to ``expand_ratio`` times as many, each
convolved with its own kernel (distributed local attention, DLA), brought back and added to the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap, Knobs
from search_spaces.operators.refiner import REFINING
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.pos import RelativePositionBias
from supernet.weight_slices import (
    WeightSlices,
    centre,
    centred,
    chain,
    first,
    first_entries,
    full,
    prefixed,
)


class AttentionRefinement(nn.Module):
    """Expansion, local convolution and reduction of attention maps, as a residual.

    Args:
        num_heads: Maps in and out.
        expand_ratio: How many times as many maps are convolved; 1 leaves the expansion out.
        kernel_size: Side of the kernels.
    """

    def __init__(self, num_heads: int, expand_ratio: int, kernel_size: int) -> None:
        super().__init__()
        maps = num_heads * expand_ratio
        self.expand = nn.Conv2d(num_heads, maps, 1, bias=False) if expand_ratio > 1 else None
        self.norm_expand = nn.BatchNorm2d(maps) if expand_ratio > 1 else None
        self.depthwise = nn.Conv2d(maps, maps, kernel_size, padding=kernel_size // 2, groups=maps, bias=False)
        self.norm_depthwise = nn.BatchNorm2d(maps)
        self.reduce = nn.Conv2d(maps, num_heads, 1, bias=False)
        self.norm_reduce = nn.BatchNorm2d(num_heads)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, heads, N, N)`` to the same shape."""
        # The maps are few and large: on CPUs this is up to five times as fast in channels-last.
        layout = torch.channels_last if maps.device.type == "cpu" else torch.contiguous_format
        x = maps.contiguous(memory_format=layout)
        if self.expand is not None and self.norm_expand is not None:
            x = F.relu6(self.norm_expand(self.expand(x)))
        x = F.relu6(self.norm_depthwise(self.depthwise(x)))
        return maps + self.norm_reduce(self.reduce(x)).contiguous()


class DenseRefinement(nn.Module):
    """One convolution across all maps, without expansion or residual (mode ``conv`` of the published code).

    Args:
        num_heads: Maps in and out.
        kernel_size: Side of the kernels.
    """

    def __init__(self, num_heads: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_heads, num_heads, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, heads, N, N)`` to the same shape."""
        return self.conv(maps)


class RefinedAttention(nn.Module):
    """Global attention with refined maps: ``norm(refine(softmax(Q K^T / sqrt(d)))) V``.

    Args:
        dim: Channels C.
        num_heads: Heads.
        refine: What refines the maps, ``(B, heads, N, N)`` to the same shape; without it this is plain
            attention that returns its maps.
        qkv_bias: Whether query, key and value projections have a bias.
        previous: Add the maps of the block before.
        rpe: The relative position bias of the logits, if any.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        refine: nn.Module | None = None,
        *,
        qkv_bias: bool = True,
        previous: bool = False,
        rpe: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.previous = previous
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.refine = refine
        self.norm = nn.BatchNorm2d(num_heads) if refine is not None else None
        self.proj = nn.Linear(dim, dim)
        self.rpe = rpe

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        return self.forward_with_attention(x)[0]

    def forward_with_attention(self, x: Tensor, maps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``(B, H, W, C)`` to the same shape, given the previous block's maps; return its own too."""
        H, W = x.shape[1:3]
        bias = None if self.rpe is None else self.rpe(H, W)
        tokens, maps = self.attend(x.flatten(1, 2), maps if self.previous else None, bias)
        return tokens.unflatten(1, (H, W)), maps

    def attend(
        self, tokens: Tensor, previous: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend over tokens that need not lie on a map, a class token among them.

        Args:
            tokens: ``(B, N, C)``.
            previous: Maps ``(B, heads, N, N)`` of the block before, added times ``1 / sqrt(d)``.
            bias: Added to the logits, ``(heads, N, N)``.

        Returns:
            Tokens ``(B, N, C)``, and the maps ``(B, heads, N, N)`` that were applied.
        """
        B, N, C = tokens.shape
        d = self.head_dim
        q, k, v = self.qkv(tokens).view(B, N, 3, self.num_heads, d).permute(2, 0, 3, 1, 4)
        # Half the scale on each side keeps the product in range in half precision.
        maps = (q * d**-0.25) @ (k * d**-0.25).transpose(-2, -1)
        if bias is not None:
            maps = maps + bias
        maps = maps.softmax(dim=-1)
        if previous is not None:
            maps = maps + previous * d**-0.5
        if self.refine is not None and self.norm is not None:
            maps = self.norm(self.refine(maps))
        return self.proj((maps @ v).transpose(1, 2).reshape(B, N, C)), maps


class SharedRefinedAttention(nn.Module):
    """Attention that computes no maps: it refines and applies those of an earlier block.

    ``norm(refine(A)) / sqrt(d) V`` for given maps A, which are returned unchanged.

    Args:
        dim: Channels C.
        num_heads: Heads.
        refine: What refines the maps; the published networks expand 3-fold here, whatever other blocks do.
        qkv_bias: Whether the value projection has a bias.
    """

    def __init__(self, dim: int, num_heads: int, refine: nn.Module, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.refine = refine
        self.norm = nn.BatchNorm2d(num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward_with_attention(self, x: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, H, W, C)`` to the same shape, given the previous block's maps; return those too."""
        tokens, maps = self.attend(x.flatten(1, 2), maps)
        return tokens.unflatten(1, x.shape[1:3]), maps

    def attend(self, tokens: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the refined maps ``previous`` ``(B, heads, N, N)`` to tokens ``(B, N, C)``; return both."""
        B, N, C = tokens.shape
        d = self.head_dim
        v = self.v(tokens).view(B, N, self.num_heads, d).transpose(1, 2)
        maps = self.norm(self.refine(previous)) * d**-0.5
        return self.proj((maps @ v).transpose(1, 2).reshape(B, N, C)), previous


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    knobs, bias = block.settings, None if style.qkv_bias else False
    dim, heads = feature_map.dim, feature_map.num_heads
    refine = None
    if knobs["maps"] in REFINING:
        refine = call(AttentionRefinement, heads, knobs["expand_ratio"], knobs["kernel_size"])
    if knobs["maps"] == "shared":
        return call(SharedRefinedAttention, dim, heads, refine, qkv_bias=bias)
    rpe = call(RelativePositionBias, feature_map.height, feature_map.width, heads)
    return call(
        RefinedAttention,
        dim,
        heads,
        refine=refine,
        qkv_bias=bias,
        previous=True if block.needs_previous_attention else None,
        rpe=rpe if block.pos == "rpe" else None,
    )


class ElasticRefiner(Elastic):
    """Weights of Refiner attention.

    A smaller expansion uses the first of the expanded maps, a smaller feature map the middle of the bias table.
    Blocks that compute attention maps and those that use a previous block's have separate refinements.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        self.refinements = nn.ModuleDict()
        for kind, settings in _refining_knobs(blocks).items():
            expand = max(int(knobs["expand_ratio"]) for knobs in settings)
            kernel = max(int(knobs["kernel_size"]) for knobs in settings)
            self.refinements[kind] = nn.ModuleDict(
                {
                    "refine": AttentionRefinement(feature_map.num_heads, expand, kernel),
                    "norm": nn.BatchNorm2d(feature_map.num_heads),
                }
            )
        biased = any(block.pos == "rpe" for block in blocks)
        self.rpe = (
            RelativePositionBias(feature_map.height, feature_map.width, feature_map.num_heads)
            if biased
            else None
        )

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``RefinedAttention`` or ``SharedRefinedAttention`` names its parameters."""
        knobs, projections = block.settings, self.projections
        dim, heads = feature_map.dim, feature_map.num_heads
        shared = knobs["maps"] == "shared"
        weight_slices = projections.values(dim) if shared else projections.joint(dim)
        if knobs["maps"] in REFINING:
            layers: Any = self.refinements["shared" if shared else "own"]
            refine = _refinement_slices(layers["refine"], heads, knobs)
            norm = first_entries(layers["norm"], heads)
            weight_slices |= prefixed("refine", refine) | prefixed("norm", norm)
        if block.pos == "rpe" and self.rpe is not None:
            spans = 2 * feature_map.height - 1, 2 * feature_map.width - 1
            table = full(self.rpe)["table"]
            weight_slices["rpe.table"] = table.then(chain(centred(*spans), projections.heads(heads, 2)))
        return weight_slices


def _refinement_slices(module: AttentionRefinement, num_heads: int, knobs: Knobs) -> WeightSlices:
    """Return the slices that a refinement of fewer maps and a smaller kernel uses, the first of each."""
    expand, kernel = int(knobs["expand_ratio"]), int(knobs["kernel_size"])
    maps = num_heads * expand
    depthwise, reduce = full(module.depthwise)["weight"], full(module.reduce)["weight"]
    weight_slices = {
        "depthwise.weight": depthwise.then(lambda t: centre(t[:maps], kernel, kernel, dim=2)),
        "reduce.weight": reduce.then(first(num_heads, maps)),
        **prefixed("norm_depthwise", first_entries(module.norm_depthwise, maps)),
        **prefixed("norm_reduce", first_entries(module.norm_reduce, num_heads)),
    }
    if expand > 1 and module.expand is not None and module.norm_expand is not None:
        weight_slices["expand.weight"] = full(module.expand)["weight"].then(first(maps, num_heads))
        weight_slices |= prefixed("norm_expand", first_entries(module.norm_expand, maps))
    return weight_slices


def _refining_knobs(blocks: Sequence[Block]) -> dict[str, list[Knobs]]:
    """Return the knobs of the blocks that refine maps: their ``own``, or ``shared`` ones of an earlier block."""
    by_kind: dict[str, list[Knobs]] = {}
    for block in blocks:
        knobs = block.settings
        if knobs["maps"] in REFINING:
            by_kind.setdefault("shared" if knobs["maps"] == "shared" else "own", []).append(knobs)
    return by_kind


def plain(m: RefinedAttention, x: Tensor) -> Tensor:
    """Compute Refiner's attention as its authors' repository does: softmax, refinement, product, channels-first.

    Only of modules that compute their maps and are given none.
    """
    B, H, W, C = x.shape
    heads, d = m.num_heads, C // m.num_heads
    q, k, v = m.qkv(x.flatten(1, 2)).reshape(B, H * W, 3, heads, d).permute(2, 0, 3, 1, 4)
    logits = (q * d**-0.5) @ k.transpose(-2, -1)
    maps = (logits if m.rpe is None else logits + m.rpe(H, W)).softmax(dim=-1)
    if m.refine is not None and m.norm is not None:
        maps = m.norm(_plain_refinement(m.refine, maps))
    return m.proj((maps @ v).transpose(1, 2).reshape(B, H, W, C))


def _plain_refinement(m: nn.Module, maps: Tensor) -> Tensor:
    if not isinstance(m, AttentionRefinement):
        return m(maps)
    x = maps
    if m.expand is not None and m.norm_expand is not None:
        x = F.relu6(m.norm_expand(m.expand(x)))
    return maps + m.norm_reduce(m.reduce(F.relu6(m.norm_depthwise(m.depthwise(x)))))


MIXER = Mixer(blueprint, ElasticRefiner, plain)
