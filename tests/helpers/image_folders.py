"""Folders of images whose pixels say which image they are."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nas.data.splits import Split


def paint(path: Path, number: int, *, mode: str = "RGB", size: tuple[int, int] = (12, 12)) -> None:
    """Write an image that shows its number: every pixel of the first channel has that value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = number if mode == "L" else (number, 100, 200)
    Image.new(mode, size, colour).save(path)


def paint_classes(
    root: Path, counts: dict[str, int], *, first: int = 0, size: tuple[int, int] = (12, 12)
) -> Path:
    """Write ``counts`` images of each class, numbered from ``first`` on; return the folder."""
    number = first
    for name, count in counts.items():
        for i in range(count):
            paint(root / name / f"{i:03}.png", number % 256, size=size)
            number += 1
    return root


def indices_of(split: Split) -> set[int]:
    """Return which images of its set a split has."""
    return set(split.indices.tolist())


def read_all(split: Split, **how: object) -> tuple[Tensor, Tensor]:
    """Return all images and labels of a split, read in batches of 8."""
    images, labels = zip(*split.batches(8, **how), strict=True)  # type: ignore[arg-type]
    return torch.cat(images), torch.cat(labels)
