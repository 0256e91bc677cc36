"""A gate warns unless the supernet's order is surely good enough, by orders that are planted."""

from __future__ import annotations

from random import Random

import pytest

from nas.pipeline.gate import GATE_DESIGNS, describe_order
from nas.pipeline.ranking import SUPERNET, Ranking, rank
from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from tests.helpers.searches import small_space


def planted(noise: float) -> Ranking:
    """Return a ranking whose supernet's scores are the truth and noise of so many of its standard deviations."""
    rng, designs, scores = Random(0), [], {}
    for design in rng.sample(list(small_space().enumerate()), GATE_DESIGNS):
        truth = rng.gauss(50)
        training = TrainingRun(design.digest, 0, 1, truth, truth, (truth,), 1)
        designs.append(TrainedDesign(design, "sampled", (training,)))
        scores[design.digest] = truth + noise * rng.gauss()
    return rank(designs, {SUPERNET: scores})


def test_a_perfect_order_passes_any_gate() -> None:
    text = describe_order(planted(0), 0.9)
    assert text.startswith("gate ") and "a Kendall tau of 1.00 (1.00 to 1.00)" in text


@pytest.mark.parametrize(("noise", "asked"), [(0.3, 0.9), (10, 0.3), (0.5, 0.7)])
def test_an_order_that_may_be_worse_is_a_warning(noise: float, asked: float) -> None:
    ranking = planted(noise)
    text = describe_order(ranking, asked)
    assert text.startswith("warning ") and f"the {asked:g} of --gate" in text
    # It may well be better on this sample: what counts is the lower end of the interval.
    low, value = ranking.predictors[0].tau.low, ranking.predictors[0].tau.value
    assert low is not None and value is not None and low < asked
    assert describe_order(ranking, (low + value) / 2).startswith("warning ")
    assert describe_order(ranking, low - 0.01).startswith("gate ")


def test_scores_that_are_all_equal_pass_no_gate() -> None:
    ranking = planted(0)
    flat = rank(ranking.designs, {SUPERNET: dict.fromkeys(ranking.scores[SUPERNET], 10.0)})
    assert "a Kendall tau of undefined" in describe_order(flat, -1)
    assert describe_order(flat, -1).startswith("warning ")
