"""The path of a space that saves most for its backward pass.

It is a path of the largest images, and of widths that no larger one has as many heads as: all that a part saves grows
with these three.
What a path saves is the sum over its parts, and what a part saves depends on the types of what it is given alone.
So the walk below keeps, for every way in which a part can be given its input, the path that saved most so far
(Bellman 1957, "Dynamic Programming"): it is exact, and looks at each part once rather than at each path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nas.training.saved_memory import Flow, SavedBytes, SavedMemory
from search_spaces.architecture import Architecture, Block
from search_spaces.choices import StageChoices
from search_spaces.operators import FeatureMap
from search_spaces.space import Space
from search_spaces.stage_maps import Route, head_part, routes
from search_spaces.walk import BlockPart, Part


@dataclass(frozen=True)
class _Partial:
    """A path up to some part, with what it saved.

    Args:
        saved: Bytes.
        stages: Blocks of its stages; the last one may be unfinished.
    """

    saved: SavedBytes
    stages: tuple[tuple[Block, ...], ...] = ()


#: The best path for every flow that leads to the next part.
_Front = dict[Flow, _Partial]


def find_worst_path(space: Space, memory: SavedMemory, images: int) -> tuple[Architecture, SavedBytes]:
    """Return the design of ``space`` whose training saves most on so many images, and what it saves."""
    widest = replace(
        space.at_image_size(space.image_size),
        stages=tuple(replace(stage, widths=stage.widths.widest) for stage in space.stages),
    )
    found = [
        (route.design(space, partial.stages), partial.saved)
        for route in routes(widest)
        for partial in _walk(widest, route, memory, images).values()
    ]
    return max(found, key=lambda pair: pair[1].of(images))


def _walk(space: Space, route: Route, memory: SavedMemory, images: int) -> _Front:
    front: _Front = {Flow(): _Partial(SavedBytes())}
    front = _extend(front, route.entrance.part(space), space, memory, images, None)
    for index, feature_map in enumerate(route.feature_maps):
        if index:
            front = _extend(front, route.steps[index - 1], space, memory, images, None)
        front = _walk_stage(space, space.stages[index], feature_map, front, memory, images)
    return _extend(front, head_part(space, route.feature_maps[-1]), space, memory, images, None)


def _walk_stage(
    space: Space,
    stage: StageChoices,
    feature_map: FeatureMap,
    front: _Front,
    memory: SavedMemory,
    images: int,
) -> _Front:
    ends: _Front = {}
    front = {flow: replace(each, stages=(*each.stages, ())) for flow, each in front.items()}
    for depth in range(1, max(stage.depths) + 1):
        after: _Front = {}
        for part in _candidates(stage, depth, feature_map):
            able = {
                flow: each
                for flow, each in front.items()
                if (flow.maps_dtype is not None) == part.needs_attention
            }
            _keep_worst(after, _extend(able, part, space, memory, images, part.block), images)
        front = after
        if depth in stage.depths:  # nothing follows that needs attention maps
            _keep_worst(ends, {flow: each for flow, each in front.items() if flow.maps_dtype is None}, images)
    return ends


def _candidates(stage: StageChoices, depth: int, feature_map: FeatureMap) -> Iterator[BlockPart]:
    """Yield the blocks that a stage may have as its ``depth``-th; of those that differ in the MLP alone the widest."""
    offered = stage.blocks if depth > 1 else stage.first_blocks
    widest = max(stage.mlp_ratios)
    hands_on = any(block.needs_previous_attention for block in stage.blocks) and depth < max(stage.depths)
    for block in offered:
        if block.mlp_ratio == widest:
            for returns in (False, True) if hands_on else (False,):
                yield BlockPart(0, 0, block, feature_map, block.needs_previous_attention, returns)


def _extend(
    front: _Front, part: Part, space: Space, memory: SavedMemory, images: int, block: Block | None
) -> _Front:
    """Return a front after one more part."""
    extended: _Front = {}
    for flow, each in front.items():
        saved, after = memory.of_part(part, space.style, flow)
        stages = each.stages if block is None else (*each.stages[:-1], (*each.stages[-1], block))
        _keep_worst(extended, {after: _Partial(each.saved + saved, stages)}, images)
    return extended


def _keep_worst(front: _Front, others: _Front, images: int) -> None:
    for flow, each in others.items():
        if flow not in front or each.saved.of(images) > front[flow].saved.of(images):
            front[flow] = each
