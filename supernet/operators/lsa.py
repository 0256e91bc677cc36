"""LSA: locally-grouped self-attention (Twins, arXiv 2104.13840, section 3.2).

The map is divided into windows of ``window_size`` k1 x k2 and attention is computed inside each, at the cost
of k1 k2 H W C instead of H^2 W^2 C (eq. 3 and 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.cached_tensors import cached_by_size
from supernet.elastic import Elastic, Mixer, Projections
from supernet.kernels import (
    MASK_LOGIT,
    attention,
    pad_to_multiple,
    plain_attention,
    window_merge,
    window_partition,
)
from supernet.pos import LocallyEnhancedPosition, RelativePositionBias
from supernet.weight_slices import WeightSlices, centred, chain, full, prefixed


class LocallyGroupedAttention(nn.Module):
    """Attention inside windows.

    Args:
        dim: Channels C.
        num_heads: Heads.
        window_size: Side of the windows.
        qkv_bias: Whether query, key and value projections have a bias.
        rpe: The relative position bias of the logits, if any.
        lepe: The locally enhanced encoding of the values, if any.
        mask_padding: Keep the zeros that complete windows at the right and bottom out of the softmax.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        *,
        qkv_bias: bool = True,
        rpe: nn.Module | None = None,
        lepe: nn.Module | None = None,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.mask_padding = mask_padding
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.rpe = rpe
        self.lepe = lepe

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        H, W, C = x.shape[1:]
        k = self.window_size
        x = pad_to_multiple(x, k, k)
        padded_H, padded_W = x.shape[1:3]
        windows = window_partition(self.qkv(x), k, k)
        q, k_, v = windows.view(-1, k * k, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        out = attention(q, k_, v, self.bias(H, W)).transpose(1, 2).reshape(-1, k * k, C)
        if self.lepe is not None:
            out = out + self.lepe(v.transpose(1, 2).flatten(2), k, k)
        out = window_merge(out, k, k, padded_H, padded_W)
        return self.proj(out[:, :H, :W])

    def bias(self, H: int, W: int) -> Tensor | None:
        """Return the bias of the logits of an image's windows, shaped as ``attention`` asks, or None."""
        k = self.window_size
        bias = None if self.rpe is None else self.rpe(k, k)
        if self.mask_padding and (H % k or W % k):
            mask = padding_mask(self.proj.weight.device, self.proj.weight.dtype, H, W, k)
            bias = mask if bias is None else mask + bias
        return bias


@cached_by_size
def padding_mask(device: torch.device, dtype: torch.dtype, H: int, W: int, k: int) -> Tensor:
    """Return what keeps the zeros beyond ``H`` x ``W`` out of windows: ``(windows, 1, k * k, k * k)``."""
    real = torch.ones(1, H, W, 1, device=device, dtype=dtype)
    keys = window_partition(pad_to_multiple(real, k, k), k, k).transpose(1, 2)  # (windows, 1, keys)
    return (MASK_LOGIT * (keys - 1.0)).unsqueeze(1).repeat(1, 1, k * k, 1)


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    window, heads = block.knob("window_size"), feature_map.num_heads
    return call(
        LocallyGroupedAttention,
        feature_map.dim,
        heads,
        window,
        qkv_bias=None if style.qkv_bias else False,
        rpe=call(RelativePositionBias, window, window, heads) if block.pos == "rpe" else None,
        lepe=call(LocallyEnhancedPosition, feature_map.dim) if block.pos == "lepe" else None,
    )


class ElasticLSA(Elastic):
    """Weights of LSA at every window size: smaller windows use the middle of the largest bias table."""

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        self.projections = projections
        largest = max(int(block.knob("window_size")) for block in blocks)
        pos = {block.pos for block in blocks}
        self.rpe = RelativePositionBias(largest, largest, feature_map.num_heads) if "rpe" in pos else None
        self.lepe = LocallyEnhancedPosition(feature_map.dim) if "lepe" in pos else None

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``LocallyGroupedAttention`` names its parameters."""
        projections, dim, heads = self.projections, feature_map.dim, feature_map.num_heads
        weight_slices = projections.joint(dim)
        if block.pos == "rpe" and self.rpe is not None:
            span = 2 * int(block.knob("window_size")) - 1
            table = full(self.rpe)["table"]
            weight_slices["rpe.table"] = table.then(chain(centred(span, span), projections.heads(heads, 2)))
        if block.pos == "lepe" and self.lepe is not None:
            weight_slices |= prefixed("lepe", projections.value_channels(self.lepe, dim))
        return weight_slices


def plain(m: LocallyGroupedAttention, x: Tensor) -> Tensor:
    """Compute LSA as Twins' repository does: windows first, then projections, logits as a tensor of their own."""
    H, W, C = x.shape[1:]
    k = m.window_size
    windows = window_partition(x, k, k)
    q, key, v = m.qkv(windows).reshape(-1, k * k, 3, m.num_heads, C // m.num_heads).permute(2, 0, 3, 1, 4)
    bias = None if m.rpe is None else m.rpe(k, k)
    out = plain_attention(q, key, v, bias).transpose(1, 2).reshape(-1, k * k, C)
    if m.lepe is not None:
        out = out + m.lepe(v.transpose(1, 2).reshape(-1, k * k, C), k, k)
    return window_merge(m.proj(out), k, k, H, W)


MIXER = Mixer(blueprint, ElasticLSA, plain)
