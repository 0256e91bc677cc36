"""Random erasing (Zhong et al., arXiv 1708.04896): a rectangle of some images becomes noise.

It is applied to normalised images on their device, whether they were streamed or held in memory. The rectangle and
the noise are functions of the image's seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

#: Shares of the image's area, and aspect ratios (height by width), of what is erased.
AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
_ATTEMPTS = 10

#: ``(top, left, height, width)`` in pixels.
Box = tuple[int, int, int, int]


def choose_box(seed: int, probability: float, height: int, width: int) -> Box | None:
    """Return what is erased of an image, or None: with a probability a rectangle of random area, aspect and place."""
    rng = random.Random(f"{seed}/erasing")
    if rng.random() >= probability:
        return None
    for _ in range(_ATTEMPTS):
        area = rng.uniform(*AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < tall < height and 0 < wide < width:
            return rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide
    return None


def erase(images: Tensor, seeds: Sequence[int], probability: float) -> Tensor:
    """Fill a rectangle of each chosen image ``(B, C, H, W)`` with normal noise of deviation 1, in place."""
    channels, height, width = images.shape[1:]
    mask = torch.zeros(len(seeds), 1, height, width, dtype=torch.bool)
    noise = []
    for index, seed in enumerate(seeds):
        if (box := choose_box(seed, probability, height, width)) is not None:
            top, left, tall, wide = box
            mask[index, :, top : top + tall, left : left + wide] = True
            # Sampled on the CPU, so that devices and numbers of ranks agree.
            generator = torch.Generator().manual_seed(seed)
            noise.append(torch.randn(channels * tall * wide, generator=generator))
    if not noise:
        return images
    mask = mask.to(images.device, non_blocking=True)
    return images.masked_scatter_(mask, torch.cat(noise).to(images.device, images.dtype))
