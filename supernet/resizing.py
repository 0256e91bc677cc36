"""Bringing a batch of images to another size, on the device that they lie on."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images ``(B, C, H, W)`` at ``size``, height and width in pixels, by bicubic interpolation.

    Smaller images are averages over what a pixel covers (antialiased), as where the same images are decoded at that
    size.
    """
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True)
