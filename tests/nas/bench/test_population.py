"""Generations are evaluated to the same scores by all sides, and raced against them."""

from __future__ import annotations

from random import Random

import pytest

from nas.bench import (
    mutants,
    population,
    racing,
)
from nas.bench.patterns import train_on_patterns
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from search_spaces.errors import WorkError


def test_population_compares_identical_scores(tiny: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    warm, cold, *_ = population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)
    assert warm.unit == "designs/s" and str(warm.target) == ">= 2" and cold.target is None
    monkeypatch.setattr(
        population.Evaluator,
        "score",
        lambda self, design: {"top1": -1.0, "top5": 0.0, "loss": 0.0, "seconds": 1},
    )
    with pytest.raises(WorkError, match="different scores"):
        population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)


def test_a_raced_generation_is_checked_against_its_scores_in_full(tiny: Setup) -> None:
    network = train_on_patterns(load_space(tiny), tiny.device, steps=40)
    speed, saved, wrong = racing.measure_racing(
        tiny, network, parents=2, offspring=8, images=200, calibration=4
    )
    assert (speed.unit, saved.unit, str(wrong.target)) == ("images/s", "%", "<= 5")
    details = speed.details
    assert details["designs"] == 8 * tiny.pick_rounds(1) >= details["stopped"] >= details["stopped_wrongly"]
    assert (saved.ours > 0) == (details["stopped"] > 0)
    assert wrong.ours == pytest.approx(100 * details["stopped_wrongly"] / max(1, details["not_dominated"]))


def test_a_generation_is_of_distinct_mutants(tiny: Setup) -> None:
    first, designs = mutants.sample_generation(load_space(tiny), Random(0), 3, 10)
    assert len(first) == 3 and len(set(designs)) == len(designs) == 10
