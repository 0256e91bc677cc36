"""The hypervolume is the share of the box that the front dominates."""

from __future__ import annotations

import hashlib

import pytest

from nas.report.hypervolume import compute_hypervolumes


def test_hypervolume_of_two_points_by_hand() -> None:
    # Corners (0, 1) and (1, 0) of the unit box dominate nothing of it; (0.5, 0.5) a quarter.
    assert compute_hypervolumes([(0, 1), (1, 0), (0.5, 0.5)], ["minimize", "minimize"]) == [0.0, 0.0, 25.0]
    # The same with the first objective turned around, and in three dimensions with a constant third.
    assert compute_hypervolumes([(1, 1), (0, 0), (0.5, 0.5)], ["maximize", "minimize"]) == [0.0, 0.0, 25.0]
    flat = compute_hypervolumes([(0, 1, 7), (1, 0, 7), (0.5, 0.5, 7)], ["minimize"] * 3)
    assert flat == [0.0, 0.0, 25.0]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_hypervolume_equals_counting(dimensions: int) -> None:
    def place(number: int, axis: int) -> int:
        return hashlib.sha256(f"{number}/{axis}".encode()).digest()[0] % 11

    points = [[place(number, axis) for axis in range(dimensions)] for number in range(30)]
    assert all({0, 10} <= {point[axis] for point in points} for axis in range(dimensions))
    cells = [[]]
    for _ in range(dimensions):
        cells = [[*cell, place] for cell in cells for place in range(10)]
    inside = [
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells
    ]
    volume = compute_hypervolumes(points, ["minimize"] * dimensions)[-1]
    assert volume == pytest.approx(100 * sum(inside) / len(cells))
