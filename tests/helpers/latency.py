"""A space whose skeleton has choices, and latency tables that are made up rather than measured."""

from __future__ import annotations

import torch

from nas.latency.parts import space_parts
from nas.latency.table import LatencyTable, device_name
from search_spaces.space import Space

# Skeletons to choose from, and two stages on maps of the same size for all of them.
FORKED = """
name: forked
blocks:
  mlp_ratio: [1, 2]
  operators:
    dwconv: {kernel_size: 3, dynamic: [none, homogeneous]}
    lsa: {window_size: 2, pos: [none, rpe, ape]}
scales:
  one:
    images: 16
    stem: [patch4x4, conv7x7_s4, conv3x3_s2]
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 3]}
      - {dim: 12, num_heads: 4, depth: 2, downsample: [conv2x2, conv3x3, merging]}
"""


def make_table(space: Space) -> LatencyTable:
    """A table in which a part takes as many milliseconds as its place in the space."""
    entries = {part.name: float(number) for number, part in enumerate(space_parts(space), start=1)}
    return LatencyTable(
        entries, device_name(torch.device("cpu")), "float32", 1, space.image_size, space.digest, {"seed": 0}
    )
