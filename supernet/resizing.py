"""Bringing a batch of images to another size, on the device that they lie on."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images ``(B, C, H, W)`` at ``size``, height and width in pixels, by bicubic interpolation.

    Smaller images are averages over what a pixel covers (antialiased), as where the same images are decoded at that
    size.
    """
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True)


class AtImageSize(nn.Module):
    """A network that brings the images it is given to the size that it is for.

    Args:
        network: Maps images ``(B, C, H, W)`` to logits.
        size: Height and width in pixels.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` of any size to logits."""
        logits: Tensor = self.network(resize_images(images, self.size))
        return logits
