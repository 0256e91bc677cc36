"""The Pareto front on tables worked out by hand, and against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.pareto import dominates, front

UP, DOWN = "maximize", "minimize"
NAN, INF = math.nan, math.inf

TABLES = [
    # one objective: the best alone, the earliest of equals
    ("one, up", [(1,), (3,), (2,)], [UP], [1]),
    ("one, down", [(1,), (3,), (2,)], [DOWN], [0]),
    ("one, equals", [(3,), (1,), (1,)], [DOWN], [1]),
    # two: accuracy up, cost down; best accuracy first
    ("two", [(90, 50), (95, 80), (80, 20), (85, 60), (95, 90)], [UP, DOWN], [1, 0, 2]),
    ("two, both down", [(1, 5), (2, 2), (5, 1), (3, 3)], [DOWN, DOWN], [0, 1, 2]),
    ("two, both up", [(1, 5), (2, 2), (5, 1), (1, 1)], [UP, UP], [2, 1, 0]),
    ("two, down and up", [(10, 70), (20, 80), (15, 70), (20, 79)], [DOWN, UP], [0, 1]),
    ("equal in one, better in the other", [(90, 50), (90, 40)], [UP, DOWN], [1]),
    ("duplicates", [(90, 50), (90, 50), (80, 40), (80, 40)], [UP, DOWN], [0, 2]),
    ("all alike", [(1, 1)] * 4, [UP, DOWN], [0]),
    # three: accuracy up, MACs and latency down
    (
        "three",
        [(90, 50, 5), (90, 50, 4), (80, 40, 9), (80, 60, 3), (70, 70, 9)],
        [UP, DOWN, DOWN],
        [1, 2, 3],
    ),
    ("three, all kept", [(1, 3, 2), (2, 1, 3), (3, 2, 1)], [DOWN] * 3, [0, 1, 2]),
    # NaN never belongs and never dominates; infinity is a number
    ("NaN", [(NAN, 1), (90, 50), (95, NAN)], [UP, DOWN], [1]),
    ("only NaN", [(NAN, NAN)], [UP, DOWN], []),
    ("infinity", [(INF, 9), (90, 5), (-INF, 1)], [UP, DOWN], [0, 1, 2]),
    ("nothing", [], [UP, DOWN], []),
    ("a single point", [(1, 2)], [UP, DOWN], [0]),
]


@pytest.mark.parametrize(("name", "points", "directions", "expected"), TABLES, ids=[t[0] for t in TABLES])
def test_front(
    name: str, points: list[tuple[float, ...]], directions: list[str], expected: list[int]
) -> None:
    assert front(points, directions) == expected


@pytest.mark.parametrize(
    ("one", "other", "directions", "expected"),
    [
        ((2, 1), (1, 2), [UP, DOWN], True),
        ((2, 2), (1, 2), [UP, DOWN], True),
        ((2, 2), (2, 2), [UP, DOWN], False),
        ((2, 3), (1, 2), [UP, DOWN], False),
        ((1, 2), (2, 1), [UP, DOWN], False),
        ((1,), (2,), [DOWN], True),
        ((NAN, 1), (1, 2), [UP, DOWN], False),
        ((1, 2), (NAN, 1), [UP, DOWN], False),
    ],
)
def test_dominates(
    one: tuple[float, ...], other: tuple[float, ...], directions: list[str], expected: bool
) -> None:
    assert dominates(one, other, directions) is expected


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError):
        dominates((1, 2), (1,), [UP, DOWN])
    with pytest.raises(ValueError):
        front([(1, 2)], [UP])


@given(
    st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 5)] * n), max_size=30)), st.data()
)
def test_front_is_what_nothing_dominates(points: list[tuple[float, ...]], data: st.DataObject) -> None:
    width = len(points[0]) if points else 1
    directions = data.draw(st.lists(st.sampled_from([UP, DOWN]), min_size=width, max_size=width))
    kept = front(points, directions)
    expected = {p for p in points if not any(dominates(q, p, directions) for q in points)}
    assert {points[i] for i in kept} == expected and len(kept) == len(expected)
    assert all(points.index(points[i]) == i for i in kept)
