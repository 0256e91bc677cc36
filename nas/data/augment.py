"""Train-time augmentation, batched on tensors where the images are held in memory.

Random numbers are sampled for the whole global batch before any rank takes its share, and on the CPU:
neither the number of ranks nor the device changes what an image becomes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_ROTATION = math.radians(10)
_MAX_ZOOM = 0.1
_MAX_SHIFT = 0.07  # of the image's side: two pixels of a digit's 28
_CROP_AREA = (0.35, 1.0)  # of the image's area
_CROP_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class BatchRandomness:
    """The random numbers by which the images of one batch are varied.

    Attributes:
        seeds: A seed for each image, for those that are varied one by one when they are streamed.
        parameters: What `Augmentation.sample_parameters` returned for the batch, ``(B, 5)``.
    """

    seeds: tuple[int, ...]
    parameters: Tensor


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

    def sample_parameters(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample what decides the variation of each image: uniform numbers in [0, 1), shape ``(count, 5)``."""
        return torch.rand(count, 5, generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Vary images ``(B, C, H, H)``, float and not yet normalised, by parameters ``(B, 5)``."""
        parameters = parameters.to(images.device)
        if self.policy == "small":
            return _pad_crop_flip(images, parameters)
        theta = _digit_maps(parameters) if self.policy == "digits" else _resized_crop_maps(parameters)
        grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
        # The border repeats outwards, so that dark and light backgrounds both stay whole.
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _digit_maps(parameters: Tensor) -> Tensor:
    """Return affine maps ``(B, 2, 3)`` from output to input coordinates in [-1, 1]."""
    angle, zoom, right, down = (2 * parameters[:, :4] - 1).unbind(1)
    cos, sin = torch.cos(angle * _MAX_ROTATION), torch.sin(angle * _MAX_ROTATION)
    scale = 1 + zoom * _MAX_ZOOM
    # Coordinates span 2 over the image's side.
    shift_x, shift_y = 2 * _MAX_SHIFT * right, 2 * _MAX_SHIFT * down
    rows = (scale * cos, -scale * sin, shift_x, scale * sin, scale * cos, shift_y)
    return torch.stack(rows, 1).view(-1, 2, 3)


def _resized_crop_maps(parameters: Tensor) -> Tensor:
    """Return affine maps ``(B, 2, 3)`` that crop a random area and aspect ratio, and flip every other image."""
    area, aspect, right, down, flip = parameters.unbind(1)
    area = _CROP_AREA[0] + area * (_CROP_AREA[1] - _CROP_AREA[0])
    low, high = (math.log(bound) for bound in _CROP_ASPECT)
    stretch = torch.exp((low + aspect * (high - low)) / 2)
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    zero = torch.zeros_like(width)
    signed_width = torch.where(flip < 0.5, -width, width)
    rows = (signed_width, zero, (2 * right - 1) * (1 - width), zero, height, (2 * down - 1) * (1 - height))
    return torch.stack(rows, 1).view(-1, 2, 3)


def _pad_crop_flip(images: Tensor, parameters: Tensor) -> Tensor:
    """Pad by an eighth of the side, crop the image's size at a random offset, flip every other image."""
    count, channels, side, _ = images.shape
    margin = max(1, side // 8)
    padded = F.pad(images, [margin] * 4, mode="reflect")
    steps = torch.arange(side, device=images.device)
    right, down = (parameters[:, :2] * (2 * margin + 1)).long().unbind(1)
    columns = torch.where(parameters[:, 4:] < 0.5, steps.flip(0), steps) + right[:, None]
    rows = steps + down[:, None]
    rows = rows[:, None, :, None].expand(count, channels, side, side + 2 * margin)
    columns = columns[:, None, None, :].expand(count, channels, side, side)
    return padded.gather(2, rows).gather(3, columns)
