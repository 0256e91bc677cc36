"""The position-wise MLP of a block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(nn.Module):
    """Two linear layers with the exact (erf) GELU between them, the same at every position.

    ``FFN(x) = fc2(GELU(fc1(x)))``, times ``scale`` where there is one (ViT, arXiv 2010.11929, section 3.1).

    Args:
        dim: Channels.
        hidden_dim: Channels between the layers.
        scaled: Multiply the output by a learned vector (Refiner-ViT).
    """

    def __init__(self, dim: int, hidden_dim: int, scaled: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.ones(dim)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape."""
        x = self.fc2(gelu(self.fc1(x)))
        return x if self.scale is None else x * self.scale


def gelu(x: Tensor) -> Tensor:
    """Return ``GELU(x)``; without gradients in the memory of ``x``, as this is a block's widest map."""
    return F.gelu(x) if torch.is_grad_enabled() else F.gelu(x, out=x)  # type: ignore[call-arg]
