"""All that a space offers, scale by scale, as plain data."""

from __future__ import annotations

from typing import Any

from search_spaces.choices import StageChoices
from search_spaces.cost import costs
from search_spaces.declaration import Declaration
from search_spaces.space import Space


def describe_space(declaration: Declaration) -> dict[str, Any]:
    """Return what a space offers, as plain data for ``--json``.

    Returns:
        ``name``, ``summary``, and by name the ``scales``: smallest and largest side of the ``images`` in pixels that
        it is meant for; the sides to choose from (``image_sizes``), ``stems``, ``stages``; how many ``architectures``
        there are (a text, as it may be a number of 20 digits) and ``choices`` make one; ``macs`` and ``params`` of the
        smallest and the largest design at the smallest images, for RGB and 1,000 classes.
    """
    return {
        "name": declaration.name,
        "summary": declaration.summary,
        "scales": {
            scale: {"images": list(sides), **_describe_scale(declaration.space(scale))}
            for scale, sides in declaration.scales.items()
        },
    }


def _describe_scale(space: Space) -> dict[str, Any]:
    smallest, largest = costs(space.smallest), costs(space.largest)
    return {
        "image_sizes": [list(size) for size in space.image_sizes],
        "stems": list(space.stems),
        "architectures": str(space.size),
        "choices": len(space.choices),
        "macs": [smallest.macs, largest.macs],
        "params": [smallest.params, largest.params],
        "stages": [_describe_stage(stage) for stage in space.stages],
    }


def _describe_stage(stage: StageChoices) -> dict[str, Any]:
    return {
        **stage.widths.to_json(),
        "depth": list(stage.depths),
        "downsample": list(stage.downsamples),
        "mlp_ratio": list(stage.mlp_ratios),
        "operators": {
            choice.name: {**{knob: list(options) for knob, options in choice.knobs}, "pos": list(choice.pos)}
            for choice in stage.operators
        },
    }
