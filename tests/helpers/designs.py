"""Two small designs for images of 16 px, and noise."""

from __future__ import annotations

import torch
from torch import Tensor

from search_spaces.architecture import Architecture, Block, Stage

DEEP = Architecture(
    (
        Stage(8, 2, (Block("lsa", (("window_size", 2),)),) * 2),
        Stage(16, 2, (Block("gsa", (("sr_ratio", 1),)),), "conv2x2"),
    ),
    image_size=(16, 16),
    num_classes=2,
    stem="conv3x3_s2",
)
FLAT = Architecture(
    (Stage(8, 2, (Block("dwconv", (("kernel_size", 3), ("dynamic", "none"))),)),),
    image_size=(16, 16),
    num_classes=2,
    stem="conv3x3_s2",
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return normal random numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
