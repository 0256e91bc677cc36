"""Colours of float images in [0, 1], batched: grey values, blending, and jitter of brightness, contrast, saturation.

What torchvision's ``ColorJitter`` and Pillow's ``ImageEnhance`` do to one image of bytes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

#: Shares of red, green and blue in a grey value (ITU-R BT.601), as Pillow has them.
_GREY = (0.299, 0.587, 0.114)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(3)


def to_grey(images: Tensor) -> Tensor:
    """Return the grey values ``(B, 1, H, W)`` of images ``(B, C, H, W)`` of one channel or three."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_GREY, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """Return ``other`` at a factor of 0, the images at 1, and what lies beyond them above, within [0, 1].

    Args:
        images: ``(B, C, H, W)``.
        other: What broadcasts to it.
        factors: ``(B,)``.
    """
    return (other + (images - other) * factors.view(-1, 1, 1, 1)).clamp_(0, 1)


def jitter_colors(images: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each image in a random order.

    Args:
        images: ``(B, C, H, W)``; those of one channel have no saturation.
        seeds: A seed for each image, which decides order and factors.
        strength: Factors are uniform in ``[1 - strength, 1 + strength]`` and never negative.
    """
    kinds = (_BRIGHTNESS, _CONTRAST, _SATURATION)[: 3 if images.shape[1] == 3 else 2]
    orders, factors = [], []
    for seed in seeds:
        rng = random.Random(f"{seed}/color jitter")
        orders.append(rng.sample(kinds, len(kinds)))
        factors.append([rng.uniform(max(0.0, 1 - strength), 1 + strength) for _ in kinds])
    order = torch.tensor(orders).to(images.device)
    factor = torch.tensor(factors, dtype=images.dtype).to(images.device)
    for place in range(len(kinds)):
        kind, grey = order[:, place].view(-1, 1, 1, 1), to_grey(images)
        other = torch.where(kind == _CONTRAST, grey.mean((1, 2, 3), keepdim=True), grey)
        other = torch.where(kind == _BRIGHTNESS, torch.zeros_like(other), other)
        images = blend(images, other, factor[:, place])
    return images
