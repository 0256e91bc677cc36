"""What an architecture costs, from its declaration alone: MACs, parameters, activation memory.

MACs are multiply-accumulates of matrix products and convolutions for one image, attention products
included; norms, softmax, activations and biases are not counted. This is half of what
``torch.utils.flop_counter`` counts, and the convention of the papers' tables. Parameters are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from search_spaces.geometry import ConvolutionalPatches, Merging, downsample_geometry, stem_geometry
from search_spaces.operators import Cost, FeatureMap, linear_params
from search_spaces.skeleton import Style
from search_spaces.walk import BlockPart, DownsamplePart, HeadPart, Part, StemPart, walk

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture, Block

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """Costs of one architecture for one image.

    Args:
        macs: Multiply-accumulates.
        params: Trainable parameters.
        activation_bytes: Estimated peak of live activation memory at inference in float32: the largest
            working set of any part, with its input and output.
    """

    macs: int
    params: int
    activation_bytes: int


def costs(architecture: Architecture) -> Costs:
    """Return the costs of ``architecture`` without building it."""
    # A search asks several times, so they are kept where a cached_property would keep them.
    remembered = vars(architecture)
    if "costs" not in remembered:
        total = sum((part_cost(part, architecture.style) for part in walk(architecture)), Cost())
        remembered["costs"] = Costs(total.macs, total.params, total.working * FLOAT_BYTES)
    known: Costs = remembered["costs"]
    return known


def stage_costs(architecture: Architecture, index: int) -> list[Cost]:
    """Return the cost of a stage's downsampling (absent in the first stage) and of each of its blocks."""
    return [
        part_cost(part, architecture.style)
        for part in walk(architecture)
        if isinstance(part, DownsamplePart | BlockPart) and part.stage == index
    ]


def part_cost(part: Part, style: Style) -> Cost:
    """Return the cost of one part of an architecture of this style."""
    if isinstance(part, StemPart):
        return _stem_cost(part, style)
    if isinstance(part, DownsamplePart):
        return _downsample_cost(part)
    if isinstance(part, BlockPart):
        return block_cost(part.block, part.feature_map, style)
    return _head_cost(part, style)


@lru_cache(maxsize=2**14)  # a space has a few hundred blocks and maps
def block_cost(block: Block, feature_map: FeatureMap, style: Style) -> Cost:
    """Return the cost of one block: norms, operator, MLP and the encodings around them."""
    dim, tokens, hidden = feature_map.dim, feature_map.tokens, block.hidden_dim(feature_map.dim)
    mixer = block.spec.cost(block.settings, block.pos, feature_map)
    mlp = Cost(
        2 * tokens * dim * hidden,
        linear_params(dim, hidden) + linear_params(hidden, dim),
        working=2 * tokens * hidden,
    )
    norms = (2 * dim if style.mixer_norm == "layer" else 0) + 2 * dim
    scale = dim if style.mlp_scale else 0
    pos = {"ape": Cost(params=tokens * dim), "cpe": Cost(9 * tokens * dim, 10 * dim)}.get(block.pos, Cost())
    # The residual stream and the normed input live beside whatever the part itself needs.
    inside = mixer + mlp + pos
    return Cost(inside.macs, inside.params + norms + scale, inside.working + 2 * tokens * dim)


def _stem_cost(stem: StemPart, style: Style) -> Cost:
    """Return the cost of the stem: its convolutions and norms, a class token and its positions."""
    feature_map, geometry = stem.feature_map, stem_geometry(stem.name)
    token = (1 + feature_map.tokens) * feature_map.dim if style.class_token else 0
    inputs = stem.in_channels
    macs, params, working = 0, token, inputs * stem.image_size[0] * stem.image_size[1]
    if isinstance(geometry, ConvolutionalPatches):
        height, width = geometry.half(stem.image_size)
        for kernel, channels in geometry.CONVOLUTIONS:
            macs += height * width * kernel**2 * inputs * channels
            params += kernel**2 * inputs * channels + 2 * channels
            inputs = channels
        working = 2 * height * width * inputs
    elif style.stem_norm:
        params += 2 * feature_map.dim
    inputs *= math.prod(geometry.kernel_size)
    return Cost(
        macs + feature_map.height * feature_map.width * inputs * feature_map.dim,
        params + linear_params(inputs, feature_map.dim),
        working=working + 2 * feature_map.tokens * feature_map.dim,
    )


def _downsample_cost(part: DownsamplePart) -> Cost:
    before, after, geometry = part.before, part.feature_map, downsample_geometry(part.name)
    working = before.tokens * before.dim + 2 * after.tokens * after.dim
    if isinstance(geometry, Merging):
        return Cost(
            after.tokens * 4 * before.dim * after.dim,
            8 * before.dim + linear_params(4 * before.dim, after.dim, bias=False),
            working=working + before.tokens * before.dim,
        )
    inputs = math.prod(geometry.kernel_size) * before.dim
    return Cost(
        after.tokens * inputs * after.dim, linear_params(inputs, after.dim) + 2 * after.dim, working=working
    )


def _head_cost(head: HeadPart, style: Style) -> Cost:
    """Return the cost of the last LayerNorm and the classifier, that of all positions included."""
    feature_map, classes = head.feature_map, head.num_classes
    dim = feature_map.dim
    classifier = Cost(dim * classes, linear_params(dim, classes))
    if style.head == "dense_token":
        positions = feature_map.height * feature_map.width
        classifier += Cost(positions * dim * classes, linear_params(dim, classes), positions * classes)
    return classifier + Cost(params=2 * dim)
