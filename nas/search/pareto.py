"""The Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def dominates(one: Sequence[float], other: Sequence[float], directions: Sequence[str]) -> bool:
    """Return whether ``one`` is at least as good in every objective and better in some.

    Args:
        one: Its values, one for each objective.
        other: Values to compare with.
        directions: ``maximize`` or ``minimize`` for each objective.
    """
    costs = list(zip(_costs(one, directions), _costs(other, directions), strict=True))
    return all(a <= b for a, b in costs) and any(a < b for a, b in costs)


def front(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Return the indices of the points that no other dominates, best in the first objective first.

    Points with equal values are represented by the earliest; points with NaN never belong.
    """
    valid = [i for i, point in enumerate(points) if all(value == value for value in point)]
    costs = {i: _costs(points[i], directions) for i in valid}
    # A dominating point never sorts behind the one it dominates, so each is compared with those before only: it
    # belongs unless one of them is at least as good in everything.
    order = sorted(valid, key=lambda i: (costs[i], i))
    if len(directions) <= 2:
        return _sweep(order, costs)
    indices: list[int] = []
    kept = np.empty((len(order), len(directions)))
    for index in order:
        if not (kept[: len(indices)] <= costs[index]).all(axis=1).any():
            kept[len(indices)] = costs[index]
            indices.append(index)
    return indices


def _sweep(order: Sequence[int], costs: Mapping[int, Sequence[float]]) -> list[int]:
    """Return which points of at most two costs, sorted by the first, no other is at least as good as."""
    indices: list[int] = []
    for index in order:
        # Of those that belong the last has the largest first cost, and so the smallest last one.
        if not indices or costs[index][-1] < costs[indices[-1]][-1]:
            indices.append(index)
    return indices


def _costs(point: Sequence[float], directions: Sequence[str]) -> list[float]:
    """Return the values, negated where they are maximised."""
    return [value if d == "minimize" else -value for value, d in zip(point, directions, strict=True)]
