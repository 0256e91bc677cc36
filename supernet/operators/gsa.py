"""GSA: global sub-sampled attention (Twins, arXiv 2104.13840, section 3.2; PVT, arXiv 2102.12122).

Every position attends to a map that a strided convolution shrinks ``sr_ratio``-fold, so that information
crosses the windows of LSA.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.kernels import attention, plain_attention
from supernet.weight_slices import WeightSlices, first_entries, prefixed


class GlobalSubsampledAttention(nn.Module):
    """Attention of all positions to a sub-sampled map.

    Args:
        dim: Channels C.
        num_heads: Heads.
        sr_ratio: How much smaller the map of keys and values is on each side.
        qkv_bias: Whether query, key and value projections have a bias.
    """

    def __init__(self, dim: int, num_heads: int, sr_ratio: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.sr_ratio = sr_ratio
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, sr_ratio, sr_ratio) if sr_ratio > 1 else None
        self.norm = nn.LayerNorm(dim) if sr_ratio > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape.

        Rows and columns that fill no patch give no key; zeros complete a map smaller than one patch.
        """
        B, H, W, C = x.shape
        heads, d = self.num_heads, C // self.num_heads
        q = self.q(x).view(B, H * W, heads, d).transpose(1, 2)
        if self.sr is not None and self.norm is not None:
            if H < self.sr_ratio or W < self.sr_ratio:
                x = F.pad(x, (0, 0, 0, max(0, self.sr_ratio - W), 0, max(0, self.sr_ratio - H)))
            x = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        k, v = self.kv(x).view(B, -1, 2, heads, d).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v).transpose(1, 2).reshape(B, H, W, C))


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(
        GlobalSubsampledAttention,
        feature_map.dim,
        feature_map.num_heads,
        block.knob("sr_ratio"),
        qkv_bias=None if style.qkv_bias else False,
    )


class ElasticGSA(Elastic):
    """Weights of GSA: common projections, and a sub-sampling convolution and norm of its own for every sr_ratio.

    A part of a sub-sampling kernel would be a different average of other positions, so ratios do not
    share theirs.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        ratios = sorted({int(block.knob("sr_ratio")) for block in blocks} - {1})
        self.sr = nn.ModuleDict({str(r): nn.Conv2d(feature_map.dim, feature_map.dim, r, r) for r in ratios})
        self.norm = nn.ModuleDict({str(r): nn.LayerNorm(feature_map.dim) for r in ratios})

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``GlobalSubsampledAttention`` names its parameters."""
        dim, ratio = feature_map.dim, str(block.knob("sr_ratio"))
        weight_slices = self.projections.separate(dim)
        if ratio in self.sr:
            weight_slices |= prefixed("sr", first_entries(self.sr[ratio], dim, dim))
            weight_slices |= prefixed("norm", first_entries(self.norm[ratio], dim))
        return weight_slices


def plain(m: GlobalSubsampledAttention, x: Tensor) -> Tensor:
    """Compute GSA as Twins' repository does: sub-sample a channels-first copy, logits as a tensor of their own."""
    B, H, W, C = x.shape
    heads, d = m.num_heads, C // m.num_heads
    tokens = x.flatten(1, 2)
    q = m.q(tokens).reshape(B, H * W, heads, d).permute(0, 2, 1, 3)
    if m.sr is not None and m.norm is not None:
        small = m.sr(tokens.permute(0, 2, 1).reshape(B, C, H, W)).reshape(B, C, -1).permute(0, 2, 1)
        tokens = m.norm(small)
    k, v = m.kv(tokens).reshape(B, -1, 2, heads, d).permute(2, 0, 3, 1, 4)
    return m.proj(plain_attention(q, k, v).transpose(1, 2).reshape(B, H, W, C))


MIXER = Mixer(blueprint, ElasticGSA, plain)
