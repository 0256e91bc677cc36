"""A small space with a design that is built like Twins-SVT, and files of its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nas.runtime.files import save_tensors
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from supernet.network import Network
from supernet.subnet import build_subnet

SPACE = """
name: small
blocks:
  mlp_ratio: [2, 4]
  operators:
    lsa: {window_size: [2, 4], pos: [none, cpe]}
    gsa: {sr_ratio: [1, 2], pos: [none, cpe]}
scales:
  only:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""
# Built like Twins-SVT: local, then global, an encoding after the first block.
SMALL_DESIGN = Architecture(
    (
        Stage(
            8, 2, (Block("lsa", (("window_size", 2),), "cpe", 4), Block("gsa", (("sr_ratio", 2),), "none", 2))
        ),
    ),
    image_size=(8, 8),
    num_classes=3,
    stem="conv3x3_s2",
)


def small_space(classes: int = 3) -> Space:
    return parse_declaration(SPACE, "space.yaml").space(None, 8, 3, classes)


def small_network(seed: int = 0, design: Architecture = SMALL_DESIGN) -> Network:
    torch.manual_seed(seed)
    return build_subnet(design).eval()


def save_weights(path: Path, network: Network) -> Path:
    """Write the weights of a network; return the file."""
    save_tensors(path, network.state_dict())
    return path


def random_images(count: int = 2, side: int = 8) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(5))
