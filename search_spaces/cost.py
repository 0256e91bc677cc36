"""What an architecture costs, from its declaration alone: MACs, parameters, activation memory.

MACs are multiply-accumulates of matrix products and convolutions for one image, attention products
included; norms, softmax, activations and biases are not counted. This is half of what
``torch.utils.flop_counter`` counts, and the convention of the papers' tables. Parameters are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.architecture import Architecture, Block
from search_spaces.operators import Cost, FeatureMap
from search_spaces.operators._base import linear_params
from search_spaces.skeleton import DOWNSAMPLES, STEMS, ConvolutionalPatches, Style

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
    parts = [stem_cost(architecture)]
    for index in range(len(architecture.stages)):
        parts.extend(stage_costs(architecture, index))
    parts.append(head_cost(architecture))
    total = sum(parts, Cost())
    return Costs(total.macs, total.params, total.working * FLOAT_BYTES)


def stage_costs(architecture: Architecture, index: int) -> list[Cost]:
    """Return the cost of a stage's downsampling (absent in the first stage) and of each of its blocks."""
    stage, feature_map = architecture.stages[index], architecture.feature_map(index)
    parts = []
    if stage.downsample is not None:
        before = architecture.feature_map(index - 1)
        parts.append(_downsample(stage.downsample, before, feature_map))
    parts.extend(block_cost(block, feature_map, architecture.style) for block in stage.blocks)
    return parts


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


def stem_cost(architecture: Architecture) -> Cost:
    """Return the cost of the stem: its convolutions and norms, a class token and its positions."""
    feature_map, style, geometry = architecture.feature_map(0), architecture.style, STEMS[architecture.stem]
    image = architecture.in_channels * architecture.image_size[0] * architecture.image_size[1]
    token = (1 + feature_map.tokens) * feature_map.dim if style.class_token else 0
    macs, params, working, inputs = 0, token, image, architecture.in_channels
    if isinstance(geometry, ConvolutionalPatches):
        height, width = (geometry.half(side) for side in architecture.image_size)
        for kernel, channels in geometry.CONVOLUTIONS:
            macs += height * width * kernel**2 * inputs * channels
            params += kernel**2 * inputs * channels + 2 * channels
            inputs = channels
        working = 2 * height * width * inputs
    elif style.stem_norm:
        params += 2 * feature_map.dim
    inputs *= geometry.kernel_size**2
    return Cost(
        macs + feature_map.height * feature_map.width * inputs * feature_map.dim,
        params + linear_params(inputs, feature_map.dim),
        working=working + 2 * feature_map.tokens * feature_map.dim,
    )


def head_cost(architecture: Architecture) -> Cost:
    """Return the cost of the last LayerNorm and the classifier, that of all positions included."""
    last, classes = architecture.stages[-1].dim, architecture.num_classes
    classifier = Cost(last * classes, linear_params(last, classes))
    if architecture.style.head == "dense_token":
        feature_map = architecture.feature_map(0)
        positions = feature_map.height * feature_map.width
        classifier += Cost(positions * last * classes, linear_params(last, classes), positions * classes)
    return classifier + Cost(params=2 * last)


def _downsample(name: str, before: FeatureMap, after: FeatureMap) -> Cost:
    working = before.tokens * before.dim + 2 * after.tokens * after.dim
    if name == "merging":
        return Cost(
            after.tokens * 4 * before.dim * after.dim,
            8 * before.dim + linear_params(4 * before.dim, after.dim, bias=False),
            working=working + before.tokens * before.dim,
        )
    inputs = DOWNSAMPLES[name].kernel_size ** 2 * before.dim
    return Cost(
        after.tokens * inputs * after.dim, linear_params(inputs, after.dim) + 2 * after.dim, working=working
    )
