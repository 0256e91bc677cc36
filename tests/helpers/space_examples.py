"""Spaces small enough to list in full, and the list."""

from __future__ import annotations

import itertools
from functools import cache

from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space

# A conditional knob (group_channels), a knob of one operator, an encoding that differs by operator.
CONDITIONAL = """
name: conditional
blocks:
  mlp_ratio: 2
  operators:
    dwconv: {kernel_size: 3, dynamic: [none, homogeneous, inhomogeneous], group_channels: [2, 4]}
    lsa: {window_size: 2, pos: [none, rpe]}
scales:
  one:
    images: 16
    stem: patch4x4
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""

# Choices of the skeleton, two stages of different depth, an operator that one stage leaves out.
SKELETON = """
name: skeleton
blocks:
  mlp_ratio: [1, 2]
  operators:
    gsa: {sr_ratio: [1, 2]}
    cswin: {stripe_width: 1, pos: lepe}
scales:
  one:
    images: 32
    stem: [patch4x4, conv7x7_s4]
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2], mlp_ratio: 1, operators: {cswin: null}}
      - {dim: 12, num_heads: 4, depth: 1, downsample: [conv2x2, conv3x3, merging]}
"""

# One shared knob name with equal options (kernel_size) and nothing else to choose between.
SHARED = """
name: shared
blocks:
  mlp_ratio: 1
  operators:
    dwconv: {kernel_size: [3, 5], dynamic: none}
    refiner: {expand_ratio: 2, kernel_size: [3, 5]}
scales:
  one:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 3]}
"""

# As rich as a space to search in: every operator, knobs of one option, options that differ by stage.
MIXED = """
name: mixed
blocks:
  mlp_ratio: [2, 4]
  operators:
    lsa: {window_size: [2, 7], pos: [none, ape, rpe, cpe, lepe]}
    gsa: {sr_ratio: [1, 2], pos: [none, ape, cpe]}
    cswin: {stripe_width: [1, 2], pos: [none, ape, rpe, cpe, lepe]}
    dwconv: {kernel_size: [3, 5, 7], dynamic: [none, homogeneous], pos: [none, ape, cpe]}
    refiner: {expand_ratio: [2, 3], kernel_size: [3], pos: [none, ape, rpe, cpe]}
scales:
  small:
    images: [28, 64]
    stem: conv3x3_s2
    stages:
      - {dim: 32, num_heads: 2, depth: [1, 2], operators: {gsa: {sr_ratio: [2, 4]}, refiner: null}}
      - {dim: 64, num_heads: 4, depth: [2, 3], downsample: conv2x2, operators: {lsa: {window_size: [4, 7]}}}
"""

# Widths, both ways of choosing heads, and sizes of the images.
WIDTHS = """
name: widths
blocks:
  mlp_ratio: 1
  operators:
    dwconv: {kernel_size: 3, dynamic: none}
    lsa: {window_size: 2, pos: rpe}
scales:
  one:
    images: [16, 32]
    image_size: [12, 16]
    stem: patch4x4
    stages:
      - {dim: [8, 12, 16], head_dim: 4, depth: 1}
      - {dim: [8, 16], num_heads: [2, 4], depth: [1, 2], downsample: [conv3x3, merging]}
"""

# Widths with heads of their own: two of one width, fewer heads on a wider map, one that is no choice.
LISTED = """
name: listed
blocks:
  mlp_ratio: 1
  operators:
    dwconv: {kernel_size: 3, dynamic: none}
    gsa: {sr_ratio: 1}
scales:
  one:
    images: 16
    stem: patch4x4
    stages:
      - width: [{dim: 16, num_heads: 2}, {dim: 8, head_dim: 2}, {dim: 12, num_heads: 6}, {dim: 16, num_heads: 4}]
        depth: 1
      - {width: {dim: 20, num_heads: 5}, depth: [1, 2], downsample: [conv2x2, merging]}
"""

TEXTS = {
    "conditional": CONDITIONAL,
    "skeleton": SKELETON,
    "shared": SHARED,
    "widths": WIDTHS,
    "listed": LISTED,
}


@cache
def space(name: str) -> Space:
    return parse_declaration(TEXTS[name], name).space()


@cache
def mixed(side: int = 28) -> Space:
    return parse_declaration(MIXED, "mixed").space(None, side, 1, 10)


@cache
def all_architectures(name: str) -> dict[str, Architecture]:
    """Every architecture of a space by digest, from all combinations of its choices."""
    options = [choice.options for choice in space(name).choices]
    names = [choice.name for choice in space(name).choices]
    assembled = (
        space(name).assemble(dict(zip(names, values, strict=True))) for values in itertools.product(*options)
    )
    return {architecture.digest: architecture for architecture in assembled}
