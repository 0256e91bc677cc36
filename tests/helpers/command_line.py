"""What tests of the command line share: a tiny space, tiny images, how a command ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TINY_SPACE = """\
name: tiny
summary: two stages for images of 16 to 32 px
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2, 4], pos: [none, rpe]}
    gsa: {sr_ratio: [2], pos: [none]}
    dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
scales:
  nano:
    images: [16, 32]
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
      - {dim: 16, num_heads: 2, depth: [1], downsample: conv2x2}
"""


def paint_folder(root: Path, classes: int = 3, images: int = 12, side: int = 16) -> Path:
    """Write noise of a mean that tells the class; return the folder."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(images):
            pixels = rng.integers(0, 90, (side, side, 3)) + 80 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    return root


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Nas = Callable[..., Outcome]


def tree(root: Path) -> dict[str, int]:
    """Return every file and folder below ``root`` with its time of change."""
    return {
        os.path.join(place, name): os.lstat(os.path.join(place, name)).st_mtime_ns
        for place, folders, files in os.walk(root)
        for name in (*folders, *files)
    }
