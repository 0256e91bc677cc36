"""A small space and images for what runs on an imitated GPU."""

from __future__ import annotations

import torch

from nas.data.augment import Augmentation
from nas.data.images import InMemoryImages
from nas.data.splits import Split
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space

# Windows that do and do not divide the maps, and BatchNorms in the stem, dynamic kernels and Refiner's maps.
SPACE = """
name: fake
blocks:
  mlp_ratio: 1
  operators:
    lsa: {window_size: [3], pos: [rpe, cpe]}
    dwconv: {kernel_size: 3, dynamic: homogeneous, pos: ape}
    refiner: {expand_ratio: 2, kernel_size: 3}
scales:
  one:
    images: 16
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""


def small_space() -> Space:
    return parse_declaration(SPACE, "space.yaml").space(None, 16, 3, 4)


def split_of(augmentation: Augmentation) -> Split:
    """Return 24 images of 16 px in memory."""
    images = InMemoryImages(torch.zeros(24, 3, 16, 16, dtype=torch.uint8))
    return Split(images, torch.arange(24), torch.arange(24) % 4, (0.5,) * 3, (0.2,) * 3, augmentation)
