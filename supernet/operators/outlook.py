"""Outlook attention: each position weights its own neighbourhood (VOLO, arXiv 2106.13112, section 3.1).

A linear layer computes, from a position's features alone, the attention among the K x K positions around
it, K = ``kernel_size``: K^2 maps of K^2 weights a head, without queries and keys. Neighbourhoods overlap,
and their outputs for one position are summed.
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
from supernet.weight_slices import Merge, WeightSlices, centre, chain, full, narrow, prefixed


class OutlookAttention(nn.Module):
    """Dense local attention: ``fold(softmax(A) unfold(V))`` (eq. 3 to 5).

    Args:
        dim: Channels C.
        num_heads: Heads.
        kernel_size: Side K of a neighbourhood, odd.
        stride: Distance of the positions that have one; their features are means over as many rows and
            columns.
        qkv_bias: Whether the value projection has a bias.
    """

    def __init__(
        self, dim: int, num_heads: int, kernel_size: int = 3, stride: int = 1, *, qkv_bias: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.attention = nn.Linear(dim, num_heads * kernel_size**4)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W; zeros lie beyond the border."""
        H, W = x.shape[1:3]
        # No intermediate result has a name, so that each is freed as soon as the next is computed.
        patches = (self.weights(x) @ self.neighbourhoods(x)).permute(0, 1, 4, 3, 2).flatten(1, 3)
        out = F.fold(patches, (H, W), self.kernel_size, padding=self.kernel_size // 2, stride=self.stride)
        return self.proj(out.permute(0, 2, 3, 1))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights ``(B, heads, centres, K * K, K * K)``, from the features at the centres."""
        area = self.kernel_size**2
        centres = F.avg_pool2d(x.permute(0, 3, 1, 2), self.stride, self.stride, ceil_mode=True)
        logits = self.attention(centres.flatten(2).transpose(1, 2)).unflatten(
            -1, (self.num_heads, area, area)
        )
        return (logits.transpose(1, 2) * self.head_dim**-0.5).softmax(dim=-1)

    def neighbourhoods(self, x: Tensor) -> Tensor:
        """Return the values around all centres, ``(B, heads, centres, K * K, d)``."""
        padding = self.kernel_size // 2
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), self.kernel_size, padding=padding, stride=self.stride)
        v = v.unflatten(1, (self.num_heads, -1, self.kernel_size**2))
        return v.permute(0, 1, 4, 3, 2)


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(
        OutlookAttention,
        feature_map.dim,
        feature_map.num_heads,
        block.knob("kernel_size"),
        block.knob("stride"),
        qkv_bias=True if style.qkv_bias else None,
    )


class ElasticOutlook(Elastic):
    """Weights of outlook attention: a smaller neighbourhood is the middle of the largest, on both sides."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        self.kernel_size = max(int(block.knob("kernel_size")) for block in blocks)
        self.attention = nn.Linear(feature_map.dim, feature_map.num_heads * self.kernel_size**4)

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``OutlookAttention`` names its parameters."""
        k, largest, dim = int(block.knob("kernel_size")), self.kernel_size, feature_map.dim
        heads = self.projections.heads(feature_map.num_heads)

        def outputs(weight: Tensor) -> Tensor:
            # They are attention weights, (head, row and column of the target, row and column of the source).
            rows = weight.unflatten(0, (-1, largest, largest, largest, largest))
            return heads.apart(centre(centre(rows, k, k, dim=1), k, k, dim=3))

        middle = Merge(outputs, 0, 6)  # with the groups of heads
        attention = full(self.attention)
        attention["weight"] = attention["weight"].then(chain(narrow(dim, dim=1), middle))
        attention["bias"] = attention["bias"].then(middle)
        return self.projections.values(dim) | prefixed("attention", attention)


def plain(m: OutlookAttention, x: Tensor) -> Tensor:
    """Compute outlook attention as VOLO's repository does, every intermediate result a tensor with a name."""
    B, H, W, C = x.shape
    heads, k, stride = m.num_heads, m.kernel_size, m.stride
    d, area = C // heads, k * k
    h, w = -(-H // stride), -(-W // stride)
    v = F.unfold(m.v(x).permute(0, 3, 1, 2), k, padding=k // 2, stride=stride)
    v = v.reshape(B, heads, d, area, h * w).permute(0, 1, 4, 3, 2)
    pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), stride, stride, ceil_mode=True).permute(0, 2, 3, 1)
    weights = m.attention(pooled).reshape(B, h * w, heads, area, area).permute(0, 2, 1, 3, 4)
    weights = (weights * d**-0.5).softmax(dim=-1)
    patches = (weights @ v).permute(0, 1, 4, 3, 2).reshape(B, C * area, h * w)
    return m.proj(F.fold(patches, (H, W), k, padding=k // 2, stride=stride).permute(0, 2, 3, 1))


MIXER = Mixer(blueprint, ElasticOutlook, plain)
