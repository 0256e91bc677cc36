"""Outlook attention: each position weighs its own neighbourhood (VOLO, arXiv 2106.13112, section 3.1).

A linear layer turns a position's features straight into the attention among the K x K positions around
it, K = ``kernel_size``: K^2 maps of K^2 weights a head, without queries and keys. Neighbourhoods overlap,
and what they say about one position is summed.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        self.kernel_size = kernel_size
        self.stride = stride
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.attention = nn.Linear(dim, num_heads * kernel_size**4)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W; zeros lie beyond the border."""
        B, H, W, C = x.shape
        heads, d, area = self.num_heads, C // self.num_heads, self.kernel_size**2
        padding = self.kernel_size // 2
        # Neighbourhoods of values: (B, heads, centres, K * K, d).
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), self.kernel_size, padding=padding, stride=self.stride)
        v = v.view(B, heads, d, area, -1).permute(0, 1, 4, 3, 2)
        # Their weights, from the features at the centres: (B, heads, centres, K * K, K * K).
        centres = F.avg_pool2d(x.permute(0, 3, 1, 2), self.stride, self.stride, ceil_mode=True)
        logits = self.attention(centres.flatten(2).transpose(1, 2)).view(B, -1, heads, area, area)
        weights = (logits.transpose(1, 2) * d**-0.5).softmax(dim=-1)
        patches = (weights @ v).permute(0, 1, 4, 3, 2).reshape(B, C * area, -1)
        out = F.fold(patches, (H, W), self.kernel_size, padding=padding, stride=self.stride)
        return self.proj(out.permute(0, 2, 3, 1))
