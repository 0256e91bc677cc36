"""Effects of choices: planted ones come back within their intervals, and cost is not taken for an effect."""

from __future__ import annotations

from random import Random
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from nas.insight.choice_shares import Choice, choice_shares, in_order
from nas.insight.effects import Effect, cost_columns, find_effects, fit_by_designs, is_estimable
from nas.ranking.agreement import Estimate
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from tests.nas.insight.planted import plant, table_designs

OPERATOR_1, OPERATOR_2 = Choice(1, "operator"), Choice(2, "operator")
WINDOW = Choice(1, "window_size", "lsa")
WORTH = {
    (OPERATOR_1, "lsa"): 2.0,
    (OPERATOR_1, "gsa"): -1.0,
    (OPERATOR_2, "refiner"): -3.0,
    (OPERATOR_2, "cswin"): 0.7,
}


def by_value(effects: list[Effect]) -> dict[tuple[Choice, str], Effect]:
    return {(each.choice, each.value): each for each in effects}


def holds(points: Estimate, truth: float) -> bool:
    assert points.low is not None and points.high is not None
    return points.low <= truth <= points.high


def test_shares_are_of_blocks_and_of_active_knobs_alone() -> None:
    design = table_designs()[3]
    assert str(design) == "cswin(w2)·2 cswin(w1)+lepe·4 | cswin(w2)·4"
    shares = choice_shares(design)
    assert shares[OPERATOR_1] == {"cswin": 1}
    assert shares[Choice(1, "pos")] == {"none": 0.5, "lepe": 0.5}
    assert shares[Choice(1, "stripe_width", "cswin")] == {"2": 0.5, "1": 0.5}
    assert shares[Choice(1, "depth")] == {"2": 1} and shares[Choice(2, "dim")] == {"32": 1}
    assert {(each.name, each.operator) for each in shares if each.operator} == {("stripe_width", "cswin")}
    pooled = choice_shares(design, by_stage=False)
    assert pooled[Choice(0, "mlp_ratio")] == pytest.approx({"2": 1 / 3, "4": 2 / 3})
    assert Choice(0, "depth") not in pooled
    assert in_order({"8", "16", "none", "2"}) == ["none", "2", "8", "16"]


def test_planted_effects_come_back_within_their_intervals() -> None:
    effects = by_value(find_effects(plant(WORTH, noise=0.5)))
    for (choice, value), points in WORTH.items():
        each = effects[choice, value]
        assert each.reference == "dwconv" and each.clear
        assert holds(each.points, points) and each.points.value == pytest.approx(points, abs=0.5)
    others = [each for key, each in effects.items() if key not in WORTH]
    assert len(others) > 20  # of which one in twenty may look clear by chance
    assert sum(each.clear for each in others) <= 3


def test_a_knob_is_told_from_its_operator() -> None:
    effects = by_value(find_effects(plant({(OPERATOR_1, "lsa"): -2.0, (WINDOW, "8"): 3.0}, noise=0.4)))
    assert holds(effects[WINDOW, "8"].points, 3) and effects[WINDOW, "8"].reference == "2"
    assert holds(effects[WINDOW, "4"].points, 0)


def test_an_encoding_is_not_praised_for_the_operators_that_admit_it() -> None:
    """Only attention has rpe and lepe, and here attention is better."""
    worth = {(OPERATOR_2, name): 4.0 for name in ("lsa", "cswin", "refiner")}
    planted = plant(worth, noise=0.4)
    having = [choice_shares(design).get(Choice(2, "pos"), {}).get("rpe", 0) > 0 for design, _ in planted]
    accuracies = [accuracy for _, accuracy in planted]
    raw = [
        fmean(a for a, has in zip(accuracies, having, strict=True) if has is wanted)
        for wanted in (True, False)
    ]
    assert raw[0] > raw[1] + 1
    assert abs(by_value(find_effects(planted))[Choice(2, "pos"), "rpe"].points.value or 0) < 0.5


def test_what_only_costs_more_has_no_effect_at_equal_cost() -> None:
    planted = plant({}, noise=0.3)
    wide = [choice_shares(design)[Choice(1, "dim")].get("24", 0) == 1 for design, _ in planted]
    accuracies = [accuracy for _, accuracy in planted]
    raw = [
        fmean(a for a, has in zip(accuracies, wide, strict=True) if has is wanted) for wanted in (True, False)
    ]
    assert raw[0] > raw[1] + 2
    assert abs(by_value(find_effects(planted))[Choice(1, "dim"), "24"].points.value or 0) < 0.3


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    shares = [choice_shares(design) for design in table_designs()[:80]]
    values = [(OPERATOR_1, name) for name in ("cswin", "gsa", "lsa")]
    values += [(OPERATOR_2, name) for name in ("cswin", "gsa", "lsa", "refiner")]
    shared = [[each.get(choice, {}).get(value, 0.0) for each in shares] for choice, value in values]
    cost = cost_columns([costs(design).macs for design in table_designs()[:80]])
    matrix, rng, hits = np.column_stack([cost, *np.array(shared)]), np.random.default_rng(5), []
    for _ in range(60):
        truth = rng.normal(0, 2, 10)
        fit = fit_by_designs(matrix, matrix @ truth + rng.standard_t(6, 80), resamples=200)
        hits += [holds(fit.estimate(np.eye(10)[index]), truth[index]) for index in range(3, 10)]
    assert 0.93 <= fmean(hits) <= 0.98  # of 420, whose standard error is 0.011


def test_an_interval_is_that_of_theory_where_theory_has_one() -> None:
    """Normal errors of one size: Student's interval of a difference of two means."""
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], 200)
    accuracies = 50 + 2 * group + rng.normal(0, 1, 400)
    found = fit_by_designs(np.column_stack([np.ones(400), group]), accuracies).estimate(np.array([0.0, 1.0]))
    theory = stats.ttest_ind(accuracies[200:], accuracies[:200]).confidence_interval(0.95)
    assert found.value == pytest.approx(accuracies[200:].mean() - accuracies[:200].mean())
    assert (found.low, found.high) == pytest.approx((theory.low, theory.high), abs=0.03)


def test_the_order_of_designs_changes_nothing() -> None:
    planted = plant(WORTH, noise=1.0, count=60)
    shuffled = Random(0).sample(planted, len(planted))
    assert find_effects(planted) == find_effects(shuffled)


def test_few_designs_are_taken_together_or_not_at_all() -> None:
    everywhere = {(choice, "lsa"): 3.0 for choice in (OPERATOR_1, OPERATOR_2)}
    effects = find_effects(plant(everywhere, noise=0.3, count=38))
    assert {each.choice.stage for each in effects if each.choice.name == "operator"} == {0}
    lsa = by_value(effects)[Choice(0, "operator"), "lsa"]
    assert lsa.choice.place == "all stages" and lsa.clear and (lsa.points.value or 0) > 2
    assert find_effects(plant(everywhere, noise=0.3, count=20)) == []
    assert find_effects([]) == []


def test_what_no_design_tells_apart_has_no_effect() -> None:
    matrix = np.array([[1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1.0]])
    assert not is_estimable(matrix, 1) and not is_estimable(matrix, 2)
    assert is_estimable(matrix[:, :2], 1)


def test_designs_that_all_cost_the_same() -> None:
    assert np.isfinite(cost_columns([5, 5, 5])).all()
    alike: list[tuple[Architecture, float]] = [(table_designs()[0], 40.0)] * 50
    assert find_effects(alike) == []
