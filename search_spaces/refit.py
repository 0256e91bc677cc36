"""Any design for other images: another head, other channels, another size.

The papers' networks are declared for ImageNet; as baselines on somebody's own images they take the classes, channels
and size of those. What is larger than a map of these images shrinks to it, as Swin's published code does with its
windows (arXiv 2103.14030): the largest size that fits, and no shift where one window is the whole map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.errors import ArchitectureError
from search_spaces.geometry import downsampled_size, stem_size
from search_spaces.operators import FeatureMap, KnobValue

#: Knobs that are lengths in positions of the map.
_LENGTHS = ("window_size", "stripe_width", "sr_ratio", "kernel_size")
#: Largest side in pixels that is looked at for one that fits.
_LARGEST_SIDE = 1024


def refit(
    design: Architecture, image_size: tuple[int, int], in_channels: int, num_classes: int
) -> Architecture:
    """Return ``design`` for images of another kind; what fits them already stays as it is.

    Raises:
        ArchitectureError: If its skeleton cannot take such images; the sentence says which size it can.
    """
    try:
        return _refit(design, image_size, in_channels, num_classes)
    except ArchitectureError as error:
        height, width = image_size
        raise ArchitectureError(
            f"it cannot take images of {height}x{width} px ({error}); {_fitting_size(design, max(image_size))}"
        ) from None


def _refit(
    design: Architecture, image_size: tuple[int, int], in_channels: int, num_classes: int
) -> Architecture:
    size, stages = stem_size(design.stem, image_size), []
    style = design.style
    for number, stage in enumerate(design.stages, start=1):
        if stage.downsample is not None:
            size = downsampled_size(stage.downsample, size)
        if min(size) < 1:
            raise ArchitectureError(f"nothing is left of the map of stage {number}")
        feature_map = FeatureMap(stage.dim, stage.num_heads, *size, style.qkv_bias, style.class_token)
        blocks = tuple(_fit_block(block, feature_map) for block in stage.blocks)
        stages.append(Stage(stage.dim, stage.num_heads, blocks, stage.downsample))
    return replace(
        design, stages=tuple(stages), image_size=image_size, in_channels=in_channels, num_classes=num_classes
    )


def _fit_block(block: Block, feature_map: FeatureMap) -> Block:
    """Return the block with the largest lengths that fit a map."""
    if block.incompatibility(feature_map) is None:
        return block
    for candidate in _shrunk(block):
        if candidate.incompatibility(feature_map) is None:
            return candidate
    raise ArchitectureError(str(block.incompatibility(feature_map)))


def _shrunk(block: Block) -> Iterator[Block]:
    """Yield the block without its shift, then with ever smaller lengths, each with and without the shift."""
    settings = dict(block.settings)
    lengths = {name: value for name, value in settings.items() if name in _LENGTHS and isinstance(value, int)}
    for less in range(max(lengths.values(), default=1)):
        changed: dict[str, KnobValue] = {name: max(1, value - less) for name, value in lengths.items()}
        for shift in ({}, {"shift": "none"}) if "shift" in settings else ({},):
            try:
                yield Block(
                    block.operator,
                    tuple({**settings, **changed, **shift}.items()),
                    block.pos,
                    block.mlp_ratio,
                )
            except ArchitectureError:
                continue  # no value of that knob, such as an even kernel


def _fitting_size(design: Architecture, side: int) -> str:
    """Return in words the side nearest to ``side`` that the skeleton can take."""
    for what, sides in (("smallest", range(1, _LARGEST_SIDE + 1)), ("largest", range(side, 0, -1))):
        fitting = next((other for other in sides if _fits(design, other)), None)
        if fitting is not None and (fitting > side) == (what == "smallest"):
            return f"the {what} that it can take are {fitting}x{fitting} px"
    return "it can take none"


def _fits(design: Architecture, side: int) -> bool:
    try:
        _refit(design, (side, side), design.in_channels, design.num_classes)
    except ArchitectureError:
        return False
    return True
