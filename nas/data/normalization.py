"""Mean and standard deviation per channel, by which images are normalised."""

from __future__ import annotations

import torch

from nas.data.images import InMemoryImages
from nas.data.streaming import StreamedImages

_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def channel_statistics(
    images: InMemoryImages | StreamedImages, train: list[int], channels: int, large: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel: of the training images, or ImageNet's for large ones.

    Args:
        images: All images of the set.
        train: Indices of the training images.
        channels: 1 or 3.
        large: Whether the images are large.
    """
    if large or not isinstance(images, InMemoryImages):
        # What published weights for large images expect, and good enough for any photograph.
        if channels == 3:
            return _RGB_MEAN, _RGB_STD
        return (round(sum(_RGB_MEAN) / 3, 4),), (round(sum(_RGB_STD) / 3, 4),)
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for chunk in torch.tensor(train).split(4096):
        pixels = images.pixels[chunk]
        counts += torch.stack(
            [torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(channels)]
        )
    weights = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (weights * values).sum(1)
    std = ((weights * (values - mean[:, None]) ** 2).sum(1)).sqrt()
    # Rounded, so that files which state them are readable; images without any contrast are left as they are.
    return (
        tuple(round(m, 4) for m in mean.tolist()),
        tuple(round(s, 4) if s > 1e-3 else 1.0 for s in std.tolist()),
    )
