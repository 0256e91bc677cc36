"""Ratios are those within rounds, and every target is compared with what it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.bench.measurement import (
    Measurement,
    Target,
    compare_times,
    pool_measurements,
)


def test_ratios_are_taken_within_rounds() -> None:
    ours, theirs = [1.0, 10.0, 2.0], [2.0, 30.0, 2.0]
    row = compare_times("x", ours, theirs, 6)
    assert (row.ratio, row.quartiles, row.unit) == (2.0, (1.5, 2.5), "images/s")
    assert (row.ours, row.theirs) == (3.0, 3.0)
    row = compare_times("x", ours, theirs)
    assert row.ratio == 0.5 and row.unit == "ms" and row.ours == 2000.0
    assert compare_times("x", [1.0], [2.0]).quartiles == (0.5, 0.5)


def test_rows_of_a_kind_are_pooled_by_their_medians() -> None:
    rows = [compare_times(name, [times], [1.0]) for name, times in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    row = pool_measurements(rows, "all", target=Target(1.5, at_most=True))
    assert (row.name, row.ratio, row.ours, row.target_met) == ("all", 2.0, 2000.0, False)


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (Target(1.3), 1.3, True),
        (Target(1.3), 1.29, False),
        (Target(1.05, True), 1.05, True),
        (None, 2.0, None),
    ],
)
def test_every_target_is_judged(target: Target | None, ratio: float, met: bool | None) -> None:
    row = Measurement("x", 100.0, "ms", ratio=ratio, target=target)
    assert row.target_met is met and row.to_json()["met"] is met
    # Without another side it is our own value that counts.
    assert replace(row, ratio=None, ours=ratio).target_met is met
