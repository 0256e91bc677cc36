"""Train-time augmentation, batched on tensors where the images are held in memory.

Random numbers are sampled for the whole global batch before any rank takes its share, and on the CPU:
neither the number of ranks nor the device changes what an image becomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.color import jitter_colors
from nas.data.erasing import erase
from nas.data.rand_augment import apply_rand_augment

_MAX_ROTATION = math.radians(10)
_MAX_ZOOM = 0.1
_MAX_SHIFT = 0.07  # of the image's side: two pixels of a digit's 28
_CROP_AREA = 0.35  # least share of the image's area
_CROP_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class BatchRandomness:
    """The random numbers by which the images of one batch are varied.

    Attributes:
        seeds: A seed for each image, by which its colours and its erased part are chosen, and all of its variation
            where it is streamed.
        parameters: What `Augmentation.sample_parameters` returned for the batch, ``(B, 5)``.
    """

    seeds: tuple[int, ...]
    parameters: Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training images are varied.

    Of greyscale images nothing changes the saturation: RandAugment's ``Color`` and that part of the jitter are left
    out.

    Attributes:
        policy: ``digits`` turns, scales and shifts a little and never flips, for glyphs; ``small`` pads by
            an eighth, crops back and flips; ``large`` cuts a random part of 35-100% of the area, resizes it
            to the image's size and flips.
        rand_augment: RandAugment (arXiv 1909.13719) as timm writes it, e.g. ``rand-m9-mstd0.5-inc1``; None for none.
        color_jitter: Largest change of brightness, contrast and saturation; RandAugment takes its place.
        random_erasing: Probability of erasing a part of an image (arXiv 1708.04896).
        crop_area: Least share of the area that a random crop keeps, whatever the policy; None for the policy's own.
        interpolation: How random crops are resized: ``bicubic``, ``bilinear``, or ``random``, one of both.
        repeats: Differently varied copies of each image in a batch (arXiv 1901.09335).
        fill: What shows where RandAugment moves an image away, per channel in [0, 1]; its length is the number of
            channels. A `Split` sets the mean of its images.
    """

    policy: Literal["digits", "small", "large"]
    rand_augment: str | None = None
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    crop_area: float | None = None
    interpolation: str = "bicubic"
    repeats: int = 1
    fill: tuple[float, ...] = (0.5, 0.5, 0.5)

    def sample_parameters(self, count: int, generator: torch.Generator) -> Tensor:
        """Sample what decides how each image is moved: uniform numbers in [0, 1), shape ``(count, 5)``."""
        return torch.rand(count, 5, generator=generator)

    @property
    def crops(self) -> bool:
        """Whether a random part of each image is resized to the image's size."""
        return self.policy == "large" or self.crop_area is not None

    @property
    def flips(self) -> bool:
        """Whether every other image is mirrored."""
        return self.policy != "digits"

    def apply(self, images: Tensor, randomness: BatchRandomness) -> Tensor:
        """Vary images ``(B, C, H, H)`` in [0, 1], not yet normalised, in place and colour; nothing is erased yet."""
        images = self.move(images, randomness.parameters)
        if self.rand_augment is not None:
            return apply_rand_augment(
                images,
                randomness.seeds,
                self.rand_augment,
                self.fill,
                bicubic=self.interpolation == "bicubic",
            )
        if self.color_jitter > 0:
            return jitter_colors(images, randomness.seeds, self.color_jitter)
        return images

    def move(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Turn, shift, crop or flip images ``(B, C, H, H)`` by parameters ``(B, 5)``."""
        parameters = parameters.to(images.device)
        if self.crops:
            least = _CROP_AREA if self.crop_area is None else self.crop_area
            return self._resize(images, _resized_crop_maps(parameters, least, self.flips), parameters)
        if self.policy == "small":
            return _pad_crop_flip(images, parameters)
        return _resample(images, _digit_maps(parameters), "bilinear")

    def erase(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Erase a part of some normalised images ``(B, C, H, H)``, in place."""
        return erase(images, seeds, self.random_erasing) if self.random_erasing > 0 else images

    def _resize(self, images: Tensor, theta: Tensor, parameters: Tensor) -> Tensor:
        if self.interpolation != "random":
            return _resample(images, theta, self.interpolation)
        # Of the number that flips an image the next digit is as random as the first.
        bicubic = (2 * parameters[:, 4]).frac() < 0.5
        splines, lines = (_resample(images, theta, mode) for mode in ("bicubic", "bilinear"))
        return torch.where(bicubic.view(-1, 1, 1, 1), splines, lines)


def _resample(images: Tensor, theta: Tensor, interpolation: str) -> Tensor:
    """Read images at affine maps ``(B, 2, 3)`` of the output's coordinates.

    The border repeats outwards, so that dark and light backgrounds both stay whole.
    """
    grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode=interpolation, padding_mode="border", align_corners=False)
    return moved.clamp_(0, 1) if interpolation == "bicubic" else moved  # cubic splines overshoot


def _digit_maps(parameters: Tensor) -> Tensor:
    """Return affine maps ``(B, 2, 3)`` from output to input coordinates in [-1, 1]."""
    angle, zoom, right, down = (2 * parameters[:, :4] - 1).unbind(1)
    cos, sin = torch.cos(angle * _MAX_ROTATION), torch.sin(angle * _MAX_ROTATION)
    scale = 1 + zoom * _MAX_ZOOM
    # Coordinates span 2 over the image's side.
    shift_x, shift_y = 2 * _MAX_SHIFT * right, 2 * _MAX_SHIFT * down
    rows = (scale * cos, -scale * sin, shift_x, scale * sin, scale * cos, shift_y)
    return torch.stack(rows, 1).view(-1, 2, 3)


def _resized_crop_maps(parameters: Tensor, least_area: float, flips: bool) -> Tensor:
    """Return affine maps ``(B, 2, 3)`` that crop a random area and aspect ratio, and flip every other image."""
    area, aspect, right, down, flip = parameters.unbind(1)
    area = least_area + area * (1 - least_area)
    low, high = (math.log(bound) for bound in _CROP_ASPECT)
    stretch = torch.exp((low + aspect * (high - low)) / 2)
    width, height = ((area.sqrt() * side).clamp(max=1) for side in (stretch, 1 / stretch))
    zero = torch.zeros_like(width)
    signed_width = torch.where(flip < 0.5, -width, width) if flips else width
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
