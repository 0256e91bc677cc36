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
from supernet.elastic import (
    Elastic,
    Mixer,
    Projections,
    WeightSlices,
    batch_norm,
    centre,
    centred,
    full,
    narrow,
    prefixed,
)
from supernet.pos import RelativePositionBias


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
        # Few and large maps: on CPUs up to five times as fast in channels-last.
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
        expand_ratio: Expansion of the maps.
        kernel_size: Side of the maps' kernels.
        qkv_bias: Whether query, key and value projections have a bias.
        previous: Add the maps of the block before.
        refine: Refine the maps; without, this is plain attention that hands its maps on.
        dense: Refine by one dense convolution instead of expansion, local convolution and reduction.
        rpe_size: Height and width of the map that a relative position bias is declared for.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        expand_ratio: int,
        kernel_size: int,
        *,
        qkv_bias: bool = True,
        previous: bool = False,
        refine: bool = True,
        dense: bool = False,
        rpe_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.previous = previous
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.refine: nn.Module | None = None
        if refine and dense:
            self.refine = DenseRefinement(num_heads, kernel_size)
        elif refine:
            self.refine = AttentionRefinement(num_heads, expand_ratio, kernel_size)
        self.norm = nn.BatchNorm2d(num_heads) if refine else None
        self.proj = nn.Linear(dim, dim)
        self.rpe = None if rpe_size is None else RelativePositionBias(*rpe_size, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        return self.forward_with_attention(x)[0]

    def forward_with_attention(self, x: Tensor, maps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``(B, H, W, C)`` to its like, given the maps of the block before; return its own maps too."""
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
        d = C // self.num_heads
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

    ``norm(refine(A)) / sqrt(d) V`` for given maps A, which are handed on as they came.

    Args:
        dim: Channels C.
        num_heads: Heads.
        expand_ratio: Expansion of the maps; the published networks have 3 here, whatever other blocks have.
        kernel_size: Side of the maps' kernels, likewise.
        qkv_bias: Whether the value projection has a bias.
    """

    def __init__(
        self, dim: int, num_heads: int, expand_ratio: int = 3, kernel_size: int = 3, *, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.refine = AttentionRefinement(num_heads, expand_ratio, kernel_size)
        self.norm = nn.BatchNorm2d(num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward_with_attention(self, x: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, H, W, C)`` to the same shape, given the maps of the block before; return those too."""
        tokens, maps = self.attend(x.flatten(1, 2), maps)
        return tokens.unflatten(1, x.shape[1:3]), maps

    def attend(self, tokens: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the refined maps ``previous`` ``(B, heads, N, N)`` to tokens ``(B, N, C)``; return both."""
        B, N, C = tokens.shape
        d = C // self.num_heads
        v = self.v(tokens).view(B, N, self.num_heads, d).transpose(1, 2)
        maps = self.norm(self.refine(previous)) * d**-0.5
        return self.proj((maps @ v).transpose(1, 2).reshape(B, N, C)), previous


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    knobs, bias = block.settings, None if style.qkv_bias else False
    refinement = (knobs.get("expand_ratio", 1), knobs.get("kernel_size", 1))
    if knobs["maps"] == "shared":
        return call(
            SharedRefinedAttention, feature_map.dim, feature_map.num_heads, *refinement, qkv_bias=bias
        )
    return call(
        RefinedAttention,
        feature_map.dim,
        feature_map.num_heads,
        *refinement,
        qkv_bias=bias,
        previous=True if block.needs_previous_attention else None,
        refine=None if knobs["maps"] in REFINING else False,
        rpe_size=(feature_map.height, feature_map.width) if block.pos == "rpe" else None,
    )


class ElasticRefiner(Elastic):
    """Weights of Refiner attention.

    A smaller expansion uses the first of the expanded maps, a smaller map the middle of the bias table. Blocks
    with maps of their own and those that share another's refine by weights of their own.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        self.refinements = nn.ModuleDict()
        for kind, settings in _refining(blocks).items():
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
        """Return cuts named as ``RefinedAttention`` or ``SharedRefinedAttention`` names its parameters."""
        knobs = block.settings
        shared = knobs["maps"] == "shared"
        weight_slices = self.projections.values() if shared else self.projections.joint()
        if knobs["maps"] in REFINING:
            kept: Any = self.refinements["shared" if shared else "own"]
            refine = refinement(kept["refine"], feature_map.num_heads, knobs)
            weight_slices |= prefixed("refine", refine) | prefixed("norm", full(kept["norm"]))
        if block.pos == "rpe" and self.rpe is not None:
            spans = 2 * feature_map.height - 1, 2 * feature_map.width - 1
            weight_slices["rpe.table"] = full(self.rpe)["table"].then(centred(*spans))
        return weight_slices


def refinement(module: AttentionRefinement, num_heads: int, knobs: Knobs) -> WeightSlices:
    """Return the cuts that a refinement of fewer maps and a smaller kernel needs."""
    expand, kernel = int(knobs["expand_ratio"]), int(knobs["kernel_size"])
    maps = num_heads * expand
    depthwise, reduce = full(module.depthwise)["weight"], full(module.reduce)["weight"]
    weight_slices = {
        "depthwise.weight": depthwise.then(lambda full: centre(full[:maps], kernel, kernel, dim=2)),
        "reduce.weight": reduce.then(narrow(maps, dim=1)),
        **prefixed("norm_depthwise", batch_norm(module.norm_depthwise, maps)),
        **prefixed("norm_reduce", full(module.norm_reduce)),
    }
    if expand > 1 and module.expand is not None and module.norm_expand is not None:
        weight_slices["expand.weight"] = full(module.expand)["weight"].then(narrow(maps))
        weight_slices |= prefixed("norm_expand", batch_norm(module.norm_expand, maps))
    return weight_slices


def _refining(blocks: Sequence[Block]) -> dict[str, list[Knobs]]:
    """Return the settings of the blocks that refine, by whose maps they refine."""
    found: dict[str, list[Knobs]] = {}
    for block in blocks:
        knobs = block.settings
        if knobs["maps"] in REFINING:
            found.setdefault("shared" if knobs["maps"] == "shared" else "own", []).append(knobs)
    return found


MIXER = Mixer(blueprint, ElasticRefiner)
