"""Attention and windows, the only way to either for all operators.

Shapes: B images, H x W maps, C channels, N tokens, d channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: Subtracted from the logits of masked pairs, as in Twins' code. Swin's subtracts 100, whose exponential is a
#: denormal number: CPUs multiply by those many times slower than by the zero that this one gives.
MASK_LOGIT = 1000.0


def is_symbolic(*sizes: int) -> bool:
    """Return whether a size is a symbol: a network is recorded for several, so none of them decides."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


def attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Compute scaled dot-product attention by the fastest back end available.

    Args:
        q: Queries ``(B, heads, N, d)``.
        k: Keys ``(B, heads, M, d)``.
        v: Values ``(B, heads, M, d)``.
        bias: Added to the scaled logits: ``(heads, N, M)``, or ``(windows, heads, N, M)`` where every image
            has that many windows and B counts them image by image; ``heads`` may be 1.
        scale: Factor of the logits; ``d ** -0.5`` by default.

    Returns:
        ``(B, heads, N, d)``.
    """
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if q.device.type == "cpu" and bias.requires_grad and torch.is_grad_enabled():
        # The fused back end of CPUs has no gradient of a bias; PyTorch's fallback copies more than this.
        return plain_attention(q, k, v, bias, scale)
    if bias.ndim == 3:
        bias = bias.unsqueeze(0)  # two or four dimensions are allowed
    elif bias.shape[0] > 1:
        bias = bias.repeat(q.shape[0] // bias.shape[0], 1, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Compute ``attention`` step by step: the reference that the fused back ends are tested against."""
    logits = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if bias is not None and bias.ndim == 4 and bias.shape[0] > 1:
        logits = (logits.unflatten(0, (-1, bias.shape[0])) + bias).flatten(0, 1)
    elif bias is not None:
        logits = logits + bias
    return torch.softmax(logits, dim=-1) @ v


def pad_to_multiple(x: Tensor, height: int, width: int) -> Tensor:
    """Pad a map ``(B, H, W, C)`` with zeros, right and bottom, to multiples of a window's sides."""
    bottom, right = -x.shape[1] % height, -x.shape[2] % width
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x


def window_partition(x: Tensor, height: int, width: int) -> Tensor:
    """Divide a map ``(B, H, W, C)`` into windows ``(B * windows, height * width, C)``, row by row."""
    B, H, W, C = x.shape
    x = x.view(B, H // height, height, W // width, width, C).transpose(2, 3)
    return x.reshape(-1, height * width, C)


def window_merge(windows: Tensor, height: int, width: int, H: int, W: int) -> Tensor:
    """Join windows ``(B * windows, height * width, C)`` to a map ``(B, H, W, C)``."""
    C = windows.shape[-1]
    x = windows.view(-1, H // height, W // width, height, width, C).transpose(2, 3)
    return x.reshape(-1, H, W, C)
