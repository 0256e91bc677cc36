"""The named spaces at every scale, and parts of them that show all that their blocks may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import search_spaces
from nas.latency.parts import TimedPart, timed_part
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from search_spaces.stage_maps import routes
from search_spaces.walk import BlockPart, walk

FOLDER = Path(search_spaces.__file__).parent / "spaces"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SCALES = [(name, scale) for name in NAMES for scale in load_declaration(name).scales]


def space_of(name: str, scale: str) -> Space:
    return load_declaration(name).space(scale, in_channels=3, num_classes=10)


def showing_everything(space: Space) -> Iterator[TimedPart]:
    """Yield parts of a space until blocks have shown everything that ``values_of`` tells apart, at the widest."""
    widest = replace(
        space, stages=tuple(replace(stage, widths=stage.widths.widest) for stage in space.stages)
    )
    seen = set[object]()
    for route in routes(widest):
        for part in walk(route.design(space, [stage.blocks for stage in space.stages])):
            if isinstance(part, BlockPart):
                values = set(values_of(part))
                if values <= seen:
                    continue
                seen |= values
            yield timed_part(part, space.style)


def values_of(part: BlockPart) -> Iterator[object]:
    """Yield what a block shows: encodings, knobs, and whether the map has to be padded for them."""
    block, side = part.block, part.feature_map.height
    yield block.operator, block.pos
    yield block.operator, part.needs_attention
    for name, value in block.knobs:
        yield block.operator, name, value, isinstance(value, int) and side % value == 0
