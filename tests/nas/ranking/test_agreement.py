"""How well scores order designs: values by hand, a planted case with the tau of theory, and no dependence on order."""

from __future__ import annotations

import math
from itertools import permutations
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas.ranking.agreement import (
    estimate,
    judge,
    ndcg_at,
    noise_ceiling,
    regret_at,
    size_baselines,
)
from nas.ranking.correlation import kendall_tau, kendall_taus, spearman_rho, spearman_rhos
from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from tests.helpers.searches import small_space


def trained(architecture: Architecture, *accuracies: float) -> TrainedDesign:
    """Return a design that reached these accuracies with the seeds 0, 1, ..."""
    runs = (
        TrainingRun(architecture.digest, seed, 1, value, value, (value,), 1.0)
        for seed, value in enumerate(accuracies)
    )
    return TrainedDesign(architecture, "sampled", tuple(runs))


def sample(count: int) -> list[Architecture]:
    """Return distinct designs."""
    return Random(0).sample(list(small_space().enumerate()), count)


NINE = sample(9)


def test_kendall_tau_by_hand() -> None:
    # Of six pairs five agree, one does not: (5 - 1) / 6.
    assert kendall_tau([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(2 / 3)
    # One tie among the scores: (5 - 0) / sqrt(5 * 6).
    assert kendall_tau([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(5 / math.sqrt(30))
    assert math.isnan(kendall_tau([1, 1, 1, 1], [1, 2, 3, 4]))


def test_spearman_rho_by_hand() -> None:
    # 1 - 6 sum(d^2) / (n (n^2 - 1)) with differences of ranks 0, 0, 1, 1.
    assert spearman_rho([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(1 - 6 * 2 / 60)
    assert math.isnan(spearman_rho([1, 1, 1, 1], [1, 2, 3, 4]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_both_are_what_scipy_computes(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    if len(set(one)) > 1 and len(set(other)) > 1:
        assert kendall_tau(one, other) == pytest.approx(stats.kendalltau(one, other).statistic, abs=1e-12)
        assert spearman_rho(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def test_a_sample_with_repeats_is_counted_as_written_out() -> None:
    scores, truths, counts = [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 2.0, 3.0], [2, 0, 1, 3]
    written = [(s, t) for s, t, count in zip(scores, truths, counts, strict=True) for _ in range(count)]
    arrays = np.array(scores), np.array(truths), np.array([counts], dtype=float)
    for statistic, of_scipy in ((kendall_taus, stats.kendalltau), (spearman_rhos, stats.spearmanr)):
        assert statistic(*arrays)[0] == pytest.approx(of_scipy(*zip(*written, strict=True)).statistic)


def test_regret_by_hand() -> None:
    scores, truths = [9.0, 8.0, 7.0, 1.0], [50.0, 56.0, 53.0, 60.0]
    assert [regret_at(k, scores, truths) for k in (1, 2, 3, 4)] == [10, 4, 4, 0]


def test_regret_of_tied_scores_is_that_of_a_random_choice_among_them() -> None:
    # One of 50, 56 and 53 beside 40: the mean of what they lack to 60.
    assert regret_at(2, [9.0, 8.0, 8.0, 8.0, 1.0], [40.0, 50.0, 56.0, 53.0, 60.0]) == pytest.approx(
        (10 + 4 + 7) / 3
    )
    # Two of the three: the better of each pair is 56, 53 or 56.
    assert regret_at(3, [9.0, 8.0, 8.0, 8.0, 1.0], [40.0, 50.0, 56.0, 53.0, 60.0]) == pytest.approx(
        (4 + 7 + 4) / 3
    )


def test_ndcg_by_hand() -> None:
    # Gains 2, 0, 1 by score; 2, 1, 0 at best.
    gained, best = 2 + 0 + 1 / math.log2(4), 2 + 1 / math.log2(3)
    assert ndcg_at(3, [9.0, 8.0, 7.0], [3.0, 1.0, 2.0]) == pytest.approx(gained / best)
    assert ndcg_at(1, [9.0, 8.0, 7.0], [3.0, 1.0, 2.0]) == pytest.approx(1)
    assert ndcg_at(1, [8.0, 9.0, 7.0], [3.0, 1.0, 2.0]) == pytest.approx(0)


def test_ndcg_of_tied_scores_is_the_mean_over_their_orders() -> None:
    truths = [3.0, 1.0, 2.0]
    every = [ndcg_at(2, [3.0, 2.0, 1.0], order) for order in permutations(truths)]
    assert ndcg_at(2, [5.0, 5.0, 5.0], truths) == pytest.approx(fmean(every))


def test_a_planted_order_has_the_tau_of_theory() -> None:
    """Scores that are the truth plus normal noise of correlation r have a tau of 2/pi asin(r) (Greiner)."""
    rng, r = Random(1), 0.8
    truths = [rng.gauss() for _ in range(2000)]
    scores = [r * truth + math.sqrt(1 - r * r) * rng.gauss() for truth in truths]
    assert kendall_tau(scores, truths) == pytest.approx(2 / math.pi * math.asin(r), abs=0.03)


def test_intervals_hold_the_true_tau_about_as_often_as_they_say() -> None:
    rng, r = Random(2), 0.6
    tau, held = 2 / math.pi * math.asin(r), 0
    for _ in range(40):
        truths = [rng.gauss() for _ in range(40)]
        scores = [r * truth + math.sqrt(1 - r * r) * rng.gauss() for truth in truths]
        found = estimate(kendall_taus, scores, truths)
        assert found.value is not None and found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high
        held += found.low <= tau <= found.high
    assert 34 <= held  # 38 on average; 34 or fewer come in one of thirty times


def test_too_few_or_equal_scores_have_no_order() -> None:
    assert estimate(kendall_taus, [1, 2, 3], [1, 2, 3]).value is None
    assert estimate(kendall_taus, [1, 1, 1, 1], [1, 2, 3, 4]).value is None
    assert str(estimate(kendall_taus, [1, 1, 1, 1], [1, 2, 3, 4])) == "undefined"


@given(st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(rng: Random) -> None:
    designs = [trained(design, rng.uniform(40, 60)) for design in NINE]
    scores = {each.architecture.digest: float(rng.randint(0, 5)) for each in designs}
    shuffled = rng.sample(designs, len(designs))
    assert judge("supernet", designs, scores) == judge("supernet", shuffled, scores)


def test_quartiles_are_by_macs_and_a_perfect_score_is_perfect_in_each() -> None:
    macs = {costs(design).macs: design for design in small_space().enumerate()}
    designs = [macs[key] for key in sorted(macs)[:24]]  # no two alike, so that quarters are clear
    truth = [trained(design, 40 + Random(n).random()) for n, design in enumerate(designs)]
    # Right within each quarter; between them the cheap ones are always put first.
    scores = {each.architecture.digest: each.val_top1 - 10 * (n // 6) for n, each in enumerate(truth)}
    found = judge("planted", Random(0).sample(truth, len(truth)), scores)
    assert [quartile.value for quartile in found.tau_by_quartile] == pytest.approx([1, 1, 1, 1])
    assert found.tau.value is not None and found.tau.value < 0.5
    assert set(found.regret) == {1, 5, 10}


def test_sizes_and_seeds_are_judged_beside() -> None:
    designs = sample(12)
    by_size = [trained(design, costs(design).macs / 1e6, -costs(design).macs / 1e6) for design in designs]
    first = [TrainedDesign(each.architecture, each.origin, each.runs[:1]) for each in by_size]
    macs, params = size_baselines(first)
    assert (macs.predictor, params.predictor) == ("MACs", "parameters")
    assert macs.tau.value == pytest.approx(1)
    (between,) = noise_ceiling(by_size)  # the second seed orders them the other way round
    assert between.tau.value == pytest.approx(-1)
    assert noise_ceiling(first) == []


def test_designs_without_a_score_are_left_out() -> None:
    designs = [trained(design, float(n)) for n, design in enumerate(sample(8))]
    scores = {each.architecture.digest: each.val_top1 for each in designs[:5]}
    found = judge("some", designs, scores)
    assert found.designs == 5
    assert found.tau.value == pytest.approx(1)
