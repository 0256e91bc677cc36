"""The Pareto front."""

from __future__ import annotations

from collections.abc import Sequence


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
    # A dominating point never sorts behind the one it dominates, so each is compared with those before only.
    order = sorted(valid, key=lambda i: (_costs(points[i], directions), i))
    indices: list[int] = []
    for index in order:
        values = tuple(points[index])
        if not any(tuple(points[i]) == values or dominates(points[i], values, directions) for i in indices):
            indices.append(index)
    return indices


def _costs(point: Sequence[float], directions: Sequence[str]) -> list[float]:
    """Return the values, negated where they are maximised."""
    return [value if d == "minimize" else -value for value, d in zip(point, directions, strict=True)]
