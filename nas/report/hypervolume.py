"""The hypervolume of a growing Pareto front."""

from __future__ import annotations

from collections.abc import Sequence


def compute_hypervolumes(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[float]:
    """Return after each point the share, in percent, of the box of all points that the front dominates.

    Nothing is returned for one objective, where the best so far says it all, and for four and more.

    Args:
        points: Values, one an objective, in the order in which they became known.
        directions: ``maximize`` or ``minimize`` for each objective.
    """
    return compute_in_common_box([points], directions)[0]


def compute_in_common_box(
    searches: Sequence[Sequence[Sequence[float]]], directions: Sequence[str]
) -> list[list[float]]:
    """Return for each search what `compute_hypervolumes` does, in the box around the points of all of them.

    Args:
        searches: Points of each search, in the order in which they became known.
        directions: ``maximize`` or ``minimize`` for each objective.
    """
    together = [point for points in searches for point in points]
    if not 2 <= len(directions) <= 3 or len(together) < 2:
        return [[] for _ in searches]
    scaled = iter(_scale_to_unit_box(together, directions))
    return [_grow([next(scaled) for _ in points]) for points in searches]


def _grow(points: Sequence[tuple[float, ...]]) -> list[float]:
    """Return after each point of the unit box the percentage of it that all so far dominate."""
    volumes: list[float] = []
    front: list[tuple[float, ...]] = []
    for point in points:
        if any(_at_most(other, point) for other in front):
            volumes.append(volumes[-1])
        else:
            front = [other for other in front if not _at_most(point, other)] + [point]
            volumes.append(100 * _dominated_volume(front))
    return volumes


def _scale_to_unit_box(
    points: Sequence[Sequence[float]], directions: Sequence[str]
) -> list[tuple[float, ...]]:
    """Return the points as costs to minimise, with 0 the best and 1 the worst of every objective."""
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    costs = [[sign * value for sign, value in zip(signs, point, strict=True)] for point in points]
    ideal = [min(column) for column in zip(*costs, strict=True)]
    spans = [max(column) - low for column, low in zip(zip(*costs, strict=True), ideal, strict=True)]
    return [
        tuple(
            (value - low) / span if span else 0.0 for value, low, span in zip(cost, ideal, spans, strict=True)
        )
        for cost in costs
    ]


def _at_most(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _dominated_volume(points: Sequence[tuple[float, ...]]) -> float:
    """Return the volume that ``points`` dominate in the unit cube (to minimise), slice by slice."""
    if len(points[0]) == 1:
        return 1 - min(point[0] for point in points)
    ordered = sorted(points, key=lambda point: point[-1])
    ends = [point[-1] for point in ordered[1:]] + [1.0]
    return sum(
        (end - point[-1]) * _dominated_volume([other[:-1] for other in ordered[:number]])
        for number, (point, end) in enumerate(zip(ordered, ends, strict=True), start=1)
        if end > point[-1]
    )
