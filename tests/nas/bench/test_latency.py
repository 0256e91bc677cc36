"""A latency table is measured and compared with whole networks."""

from __future__ import annotations

from random import Random

import pytest

from nas.bench import (
    latency,
)
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.latency.parts import timed_parts
from nas.latency.table import LatencyTable


def test_latency_measures_a_table_and_judges_it(tiny: Setup) -> None:
    table, rows = latency.bench(tiny)
    assert table.space == load_space(tiny).digest
    assert [row.unit for row in rows] == ["Kendall's tau", "%"]


def test_predictions_are_judged_by_rank_and_error(tiny: Setup) -> None:
    space = load_space(tiny)
    designs = list({space.sample(Random(seed)): None for seed in range(12)})
    entries = {part.name: 1.0 for design in designs for part in timed_parts(design)}
    table = LatencyTable(entries, "x", "float32", 1, (28, 28), space.digest, {})
    exact = [table.latency_ms(design) for design in designs]
    tau, error = latency.compare_predictions(table, designs, [1.25 * ms for ms in exact], "x")
    assert tau.ours == pytest.approx(1.0) and tau.target_met
    assert error.ours == pytest.approx(20.0) and not error.target_met
