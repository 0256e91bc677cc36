"""What an architecture costs, from its declaration alone: MACs, parameters, activation memory.

MACs are multiply-accumulates of matrix products and convolutions for one image, attention products
included; norms, softmax, activations and biases are not counted. This is half of what
``torch.utils.flop_counter`` counts, and the convention of the papers' tables. Parameters are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.architecture import Architecture, Block
from search_spaces.operators import Cost, Site
from search_spaces.operators._base import linear_params
from search_spaces.skeleton import DOWNSAMPLES, STEMS, Style

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
    stage, site = architecture.stages[index], architecture.site(index)
    parts = []
    if stage.downsample is not None:
        before = architecture.site(index - 1)
        parts.append(_downsample(stage.downsample, before, site))
    parts.extend(block_cost(block, site, architecture.style) for block in stage.blocks)
    return parts


def block_cost(block: Block, site: Site, style: Style) -> Cost:
    """Return the cost of one block: norms, operator, MLP and the encodings around them."""
    dim, tokens, hidden = site.dim, site.tokens, block.hidden_dim(site.dim)
    mixer = block.spec.cost(dict(block.knobs), block.pos, site)
    mlp = Cost(
        2 * tokens * dim * hidden,
        linear_params(dim, hidden) + linear_params(hidden, dim),
        working=2 * tokens * hidden,
    )
    norms = (2 * dim if style.mixer_norm == "layer" else 0) + 2 * dim
    pos = {"ape": Cost(params=tokens * dim), "cpe": Cost(9 * tokens * dim, 10 * dim)}.get(block.pos, Cost())
    # The residual stream and the normed input live beside whatever the part itself needs.
    inside = mixer + mlp + pos
    return Cost(inside.macs, inside.params + norms, inside.working + 2 * tokens * dim)


def stem_cost(architecture: Architecture) -> Cost:
    """Return the cost of the stem: its convolution and LayerNorm."""
    site, kernel = architecture.site(0), STEMS[architecture.stem].kernel_size
    inputs = kernel**2 * architecture.in_channels
    image = architecture.in_channels * architecture.image_size[0] * architecture.image_size[1]
    return Cost(
        site.tokens * inputs * site.dim,
        linear_params(inputs, site.dim) + 2 * site.dim,
        working=image + 2 * site.tokens * site.dim,
    )


def head_cost(architecture: Architecture) -> Cost:
    """Return the cost of the last LayerNorm and the classifier."""
    last, classes = architecture.stages[-1].dim, architecture.num_classes
    return Cost(last * classes, 2 * last + linear_params(last, classes))


def _downsample(name: str, before: Site, after: Site) -> Cost:
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
