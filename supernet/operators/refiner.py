"""Refiner: attention whose maps are expanded, convolved and reduced (arXiv 2106.03714, sections 3.2, 3.3).

The softmaxed maps of all heads, ``(B, heads, N, N)``, are lifted to ``expand_ratio`` times as many, each
convolved with its own kernel (distributed local attention, DLA), brought back and added to the maps.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import Site
from search_spaces.skeleton import Style
from supernet.calls import Call, call
from supernet.elastic import Elastic, Mixer, Projections, Weights, batch_norm, centre, prefixed, state
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
        x = maps
        if self.expand is not None and self.norm_expand is not None:
            x = F.relu6(self.norm_expand(self.expand(x)))
        x = F.relu6(self.norm_depthwise(self.depthwise(x)))
        return maps + self.norm_reduce(self.reduce(x))


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
        refine: bool = True,
        dense: bool = False,
        rpe_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
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
        H, W = x.shape[1:3]
        bias = None if self.rpe is None else self.rpe(H, W)
        tokens, _ = self.attend(x.flatten(1, 2), bias=bias)
        return tokens.unflatten(1, (H, W))

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
        logits = (q * d**-0.25) @ (k * d**-0.25).transpose(-2, -1)
        if bias is not None:
            logits = logits + bias
        maps = logits.softmax(dim=-1)
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
        qkv_bias: Whether the value projection has a bias.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        # Expansion 3 and kernel 3, whatever the other blocks have, as in the published networks.
        self.refine = AttentionRefinement(num_heads, 3, 3)
        self.norm = nn.BatchNorm2d(num_heads)
        self.proj = nn.Linear(dim, dim)

    def attend(self, tokens: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the refined maps ``previous`` ``(B, heads, N, N)`` to tokens ``(B, N, C)``; return both."""
        B, N, C = tokens.shape
        d = C // self.num_heads
        v = self.v(tokens).view(B, N, self.num_heads, d).transpose(1, 2)
        maps = self.norm(self.refine(previous)) * d**-0.5
        return self.proj((maps @ v).transpose(1, 2).reshape(B, N, C)), previous


def plan(block: Block, site: Site, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(
        RefinedAttention,
        site.dim,
        site.num_heads,
        block.knob("expand_ratio"),
        block.knob("kernel_size"),
        qkv_bias=None if style.qkv_bias else False,
        rpe_size=(site.height, site.width) if block.pos == "rpe" else None,
    )


class ElasticRefiner(Elastic):
    """Weights of Refiner attention.

    A smaller expansion uses the first of the expanded maps, a smaller map the middle of the bias table.
    """

    def __init__(self, blocks: Sequence[Block], site: Site, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        expand = max(int(block.knob("expand_ratio")) for block in blocks)
        kernel = max(int(block.knob("kernel_size")) for block in blocks)
        self.refine = AttentionRefinement(site.num_heads, expand, kernel)
        self.norm = nn.BatchNorm2d(site.num_heads)
        biased = any(block.pos == "rpe" for block in blocks)
        self.rpe = RelativePositionBias(site.height, site.width, site.num_heads) if biased else None

    def weights(self, block: Block, site: Site) -> Weights:
        """Return views named as ``RefinedAttention`` names its parameters."""
        expand, kernel = int(block.knob("expand_ratio")), int(block.knob("kernel_size"))
        maps = site.num_heads * expand
        refine: Weights = {
            "depthwise.weight": centre(self.refine.depthwise.weight[:maps], kernel, kernel, dim=2),
            "reduce.weight": self.refine.reduce.weight[:, :maps],
            **prefixed("norm_depthwise", batch_norm(self.refine.norm_depthwise, maps)),
            **prefixed("norm_reduce", state(self.refine.norm_reduce)),
        }
        if expand > 1 and self.refine.expand is not None and self.refine.norm_expand is not None:
            refine["expand.weight"] = self.refine.expand.weight[:maps]
            refine |= prefixed("norm_expand", batch_norm(self.refine.norm_expand, maps))
        weights = self.projections.joint() | prefixed("refine", refine) | prefixed("norm", state(self.norm))
        if block.pos == "rpe" and self.rpe is not None:
            weights["rpe.table"] = centre(self.rpe.table, 2 * site.height - 1, 2 * site.width - 1)
        return weights


MIXER = Mixer(plan, ElasticRefiner)
