"""ReLU linear attention with a depth-wise convolution of the values.

Attention is that of EfficientViT (arXiv 2205.14756, section 3.1): the similarity of a query and a key is
``ReLU(q) ReLU(k)^T``, without a scale, normalised by its sum over all keys, so that the products of keys and values are
summed once for all queries (``d x d`` numbers a head) and the cost is linear in positions. The sums run over the whole
map, beyond what float16 can hold. The authors' code therefore computes all of it in float32, outside autocast, and adds
1e-15 to the sum, which is zero for a query without a positive feature. Here the sums and the quotients are in float32,
and a sum is at least 1e-15; products are of weights between 0 and 1, so that autocast may compute them in any type.

Linear attention alone is of a rank of at most d and blind to what is near. EfficientViT therefore aggregates
queries, keys and values by depth-wise convolutions and attends in these copies too. Here, as in FLatten Transformer
(arXiv 2308.00442), a depth-wise convolution of the values is added to the attention's output:
``O = ReLU(Q) (ReLU(K)^T V) / (ReLU(Q) sum ReLU(K)) + DWC(V)``, with a kernel of each channel's own where FLatten's
heads share theirs, and without its focusing function. JetViT (arXiv 2605.26636) joins linear attention with a
convolution whose kernel is computed from the image; this one is static.

EfficientViT itself is not among the published designs: its stem, MBConv blocks and BatchNorms fit no skeleton here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.weight_slices import WeightSlices, centred, chain, full, prefixed

#: The least sum that is divided by. As a summand, as in EfficientViT's code, ONNX's optimiser would drop it.
EPSILON = 1e-15


class LinearAttention(nn.Module):
    """Linear attention among all positions and a depth-wise convolution of the values.

    Args:
        dim: Channels C.
        num_heads: Heads.
        kernel_size: Side of the convolution's kernel, odd.
        qkv_bias: Whether query, key and value projections have a bias.
    """

    def __init__(self, dim: int, num_heads: int, kernel_size: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.convolution = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W; zeros lie beyond the border."""
        B, H, W, C = x.shape
        qkv = self.qkv(x)
        q, k, v = qkv.view(B, H * W, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        out = relu_linear_attention(q, k, v).transpose(1, 2).reshape(B, H, W, C)
        values = qkv[..., 2 * C :].permute(0, 3, 1, 2)
        return self.proj(out + self.convolution(values).permute(0, 2, 3, 1))


def relu_linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute ``ReLU(Q) (ReLU(K)^T V) / (ReLU(Q) sum ReLU(K))``, sums in float32, or float64 where V is.

    With S the sum of a feature over all keys, a query's weights ``ReLU(q) S / (ReLU(q) . S)`` sum to one over
    features, those of the keys ``ReLU(k) / S`` over positions: no product is larger than the largest value.

    Args:
        q: Queries ``(B, heads, N, d)``.
        k: Keys ``(B, heads, N, d)``.
        v: Values ``(B, heads, N, d)``.

    Returns:
        ``(B, heads, N, d)``, of the type of V.
    """
    dtype = torch.promote_types(v.dtype, torch.float32)
    q, k = F.relu(q.to(dtype)), F.relu(k.to(dtype))
    sums = k.sum(dim=-2, keepdim=True)
    q = q * sums
    # Products with reciprocals, as the gradient of a quotient takes another copy of the map.
    q = (q * q.sum(dim=-1, keepdim=True).clamp_min(EPSILON).reciprocal()).to(v.dtype)
    k = (k * sums.clamp_min(EPSILON).reciprocal()).to(v.dtype)
    return q @ (k.transpose(-2, -1) @ v)


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return call(
        LinearAttention,
        feature_map.dim,
        feature_map.num_heads,
        block.knob("kernel_size"),
        qkv_bias=None if style.qkv_bias else False,
    )


class ElasticLinear(Elastic):
    """Weights of linear attention: smaller kernels are the middle of the largest one."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        dim, largest = feature_map.dim, max(int(block.knob("kernel_size")) for block in blocks)
        self.convolution = nn.Conv2d(dim, dim, largest, groups=dim)

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``LinearAttention`` names its parameters."""
        kernel, dim, convolution = int(block.knob("kernel_size")), feature_map.dim, full(self.convolution)
        channels, middle = self.projections.channels(dim), centred(kernel, kernel, dim=2)
        convolution["weight"] = convolution["weight"].then(chain(middle, channels))
        convolution["bias"] = convolution["bias"].then(channels)
        return self.projections.joint(dim) | prefixed("convolution", convolution)


def plain(m: LinearAttention, x: Tensor) -> Tensor:
    """Compute it as EfficientViT does: with a column of ones beside the values, whose products are the sums."""
    B, H, W, C = x.shape
    heads, d = m.num_heads, C // m.num_heads
    q, k, v = m.qkv(x).reshape(B, H * W, 3, heads, d).permute(2, 0, 3, 1, 4)
    dtype = torch.promote_types(v.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        q, k, padded = F.relu(q.to(dtype)), F.relu(k.to(dtype)), F.pad(v.to(dtype), (0, 1), value=1.0)
        out = q @ (k.transpose(-2, -1) @ padded)
        out = (out[..., :-1] / (out[..., -1:] + EPSILON)).to(v.dtype)
    values = v.transpose(-2, -1).reshape(B, C, H, W)
    out = out.transpose(-2, -1).reshape(B, C, H, W) + m.convolution(values)
    return m.proj(out.permute(0, 2, 3, 1))


MIXER = Mixer(blueprint, ElasticLinear, plain)
