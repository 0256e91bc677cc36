"""Files whose graph normalises by itself, so that whoever runs them cannot do it wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.export.options import Input


class PixelNetwork(nn.Module):
    """A network that is given images as they are decoded.

    Bytes rather than numbers in 0..1: they are what decoders return, a quarter of the memory, and nothing else can
    be mistaken for them, while floats leave open whether they end at 1 or at 255.

    Args:
        network: Maps normalised images to logits.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images ``(B, C, H, W)`` to logits ``(B, num_classes)``."""
        logits: Tensor = self.network((images.float() / 255 - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class GraphInput:
    """What the files beside the source take.

    Args:
        kind: ``normalized`` or ``uint8``.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
    """

    kind: Input
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return what the files hold, of a network that takes normalised images."""
        return network if self.kind == "normalized" else PixelNetwork(network, self.mean, self.std).eval()

    def convert(self, images: Tensor) -> Tensor:
        """Return normalised images as the files take them."""
        return images if self.kind == "normalized" else to_pixels(images, self.mean, self.std)


def to_pixels(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return the uint8 images that normalised ones came from, or the nearest there are."""
    factors = (torch.tensor(values).view(-1, 1, 1) for values in (std, mean))
    scale, shift = factors
    return (255 * (images * scale + shift)).round().clamp(0, 255).to(torch.uint8)
