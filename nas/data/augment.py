"""Train-time augmentation, batched on tensors where the images are held in memory.

The random numbers of a batch are drawn for the whole global batch before any rank takes its share, and on
the CPU: neither the number of ranks nor the device changes what an image becomes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_TURN = math.radians(10)
_ZOOM = 0.1
_SHIFT = 0.07  # of the image's side: two pixels of a digit's 28
_AREA = (0.35, 1.0)
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        policy: ``digits`` turns, scales and shifts a little and never flips, for glyphs; ``small`` pads by
            an eighth, crops back and flips; ``large`` cuts a random part of 35-100% of the area, resizes it
            to the image's size and flips.
        rand_augment: timm's auto-augment string, e.g. ``rand-m7-mstd0.5``, which images that are streamed
            from disk get in addition; None for none.
    """

    policy: Literal["digits", "small", "large"]
    rand_augment: str | None = None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw what decides the variation of each image: uniform numbers in [0, 1), shape ``(count, 5)``."""
        return torch.rand(count, 5, generator=generator)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Vary images ``(B, C, H, H)``, float and not yet normalised, as ``draws`` ``(B, 5)`` say."""
        draws = draws.to(images.device)
        if self.policy == "small":
            return _pad_crop_flip(images, draws)
        theta = _digit_maps(draws) if self.policy == "digits" else _resized_crop_maps(draws)
        grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
        # The border repeats outwards, so that dark and light backgrounds both stay whole.
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _digit_maps(draws: Tensor) -> Tensor:
    """Affine maps ``(B, 2, 3)`` from output to input coordinates in [-1, 1]."""
    angle, zoom, right, down = (2 * draws[:, :4] - 1).unbind(1)
    cos, sin = torch.cos(angle * _TURN), torch.sin(angle * _TURN)
    scale = 1 + zoom * _ZOOM
    # Coordinates span 2 over the image's side.
    rows = (scale * cos, -scale * sin, 2 * _SHIFT * right, scale * sin, scale * cos, 2 * _SHIFT * down)
    return torch.stack(rows, 1).view(-1, 2, 3)


def _resized_crop_maps(draws: Tensor) -> Tensor:
    """Affine maps ``(B, 2, 3)`` that cut a part of random area and ratio, and flip every other one."""
    area, ratio, right, down, flip = draws.unbind(1)
    area = _AREA[0] + area * (_AREA[1] - _AREA[0])
    low, high = (math.log(bound) for bound in _RATIO)
    stretch = torch.exp((low + ratio * (high - low)) / 2)
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    zero = torch.zeros_like(width)
    mirrored = torch.where(flip < 0.5, -width, width)
    rows = (mirrored, zero, (2 * right - 1) * (1 - width), zero, height, (2 * down - 1) * (1 - height))
    return torch.stack(rows, 1).view(-1, 2, 3)


def _pad_crop_flip(images: Tensor, draws: Tensor) -> Tensor:
    count, channels, side, _ = images.shape
    margin = max(1, side // 8)
    padded = F.pad(images, [margin] * 4, mode="reflect")
    steps = torch.arange(side, device=images.device)
    right, down = (draws[:, :2] * (2 * margin + 1)).long().unbind(1)
    columns = torch.where(draws[:, 4:] < 0.5, steps.flip(0), steps) + right[:, None]
    rows = steps + down[:, None]
    rows = rows[:, None, :, None].expand(count, channels, side, side + 2 * margin)
    columns = columns[:, None, None, :].expand(count, channels, side, side)
    return padded.gather(2, rows).gather(3, columns)
