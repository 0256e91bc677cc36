"""Generations are evaluated to the same scores by all sides, and raced against them."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from nas.bench import (
    mutants,
    population,
    racing,
)
from nas.bench.patterns import train_on_patterns
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from search_spaces.cost import costs, part_cost
from search_spaces.errors import WorkError
from search_spaces.walk import walk
from tests.helpers.searches import small_space


def test_population_compares_identical_scores(tiny: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    warm, cold, *_ = population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)
    assert warm.unit == "designs/s" and warm.target is not None and cold.target is None
    assert warm.target.limit == pytest.approx(0.95 * fmean(warm.details["shared"]), abs=0.005)
    monkeypatch.setattr(
        population.Evaluator,
        "score",
        lambda self, design: {"top1": -1.0, "top5": 0.0, "loss": 0.0, "seconds": 1},
    )
    with pytest.raises(WorkError, match="different scores"):
        population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)


def test_what_designs_share_is_counted_by_whole_beginnings() -> None:
    one = small_space().largest
    *stages, last = one.stages
    first, *rest = (block for block in small_space().stages[-1].blocks if block != last.blocks[-1])
    assert rest
    # The same up to the last block: that and the classifier behind it are computed again.
    other = replace(one, stages=(*stages, replace(last, blocks=(*last.blocks[:-1], first))))
    alike = sum(part_cost(part, one.style).macs for part in list(walk(one))[:-2])
    both = costs(one).macs + costs(other).macs
    assert mutants.count_shared([], [one, one]) == 2
    assert mutants.count_shared([], [one, other]) == pytest.approx(both / (both - alike))
    assert mutants.count_shared([one], [other]) == pytest.approx(
        costs(other).macs / (costs(other).macs - alike)
    )


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
