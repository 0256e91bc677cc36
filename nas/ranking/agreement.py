"""How well scores order designs, against accuracies of the designs trained alone.

Kendall's tau (Biometrika 1938; tau-b, which counts ties) and Spearman's rho say how alike two orders are, from -1 to 1.
What a search gets from an order is in regret@k and nDCG@k: it only ever looks at the best of it. All of it has a
distribution: intervals are percentiles over designs drawn with replacement (Efron 1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any

import numpy as np

from nas.ranking.correlation import Array, kendall_taus, spearman_rhos, to_arrays
from nas.ranking.trained_designs import TrainedDesign

#: Confidence of intervals, and how often designs are drawn again for them.
CONFIDENCE, RESAMPLES = 0.95, 2000
#: Designs below which an order says nothing.
LEAST_DESIGNS = 4

#: ``(scores, truths, counts) -> a value for each sample``, which holds the i-th pair ``counts[sample, i]`` times.
Statistic = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Estimate:
    """A statistic of a sample of designs, with its interval over other samples.

    Attributes:
        value: What it is on the sample; None where it is undefined, as with scores that are all equal.
        low: Lower end of the interval, or None.
        high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Return it with its interval, as ``0.61 (0.42 to 0.76)``."""
        if self.value is None:
            return "undefined"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Agreement:
    """How well one way to score orders designs.

    Attributes:
        predictor: What scored.
        designs: Their number.
        tau: Kendall's tau-b over all of them.
        rho: Spearman's rho.
        tau_by_quartile: tau within each quarter of the designs by MACs, cheapest first.
        regret: By ``k``, the points of accuracy that the best of the ``k`` highest scored lacks to the best of all.
        ndcg: By ``k``, normalised discounted cumulative gain, where a design gains its accuracy above the worst.
    """

    predictor: str
    designs: int
    tau: Estimate
    rho: Estimate
    tau_by_quartile: tuple[Estimate, ...]
    regret: dict[int, float]
    ndcg: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, whose keys are text."""
        by_k = {name: {str(k): v for k, v in getattr(self, name).items()} for name in ("regret", "ndcg")}
        return {**asdict(self), **by_k}


def estimate(statistic: Statistic, scores: Sequence[float], truths: Sequence[float]) -> Estimate:
    """Return a statistic of pairs with its bootstrap interval; it does not depend on their order."""
    pairs = sorted(zip(scores, truths, strict=True))
    if len(pairs) < LEAST_DESIGNS:
        return Estimate(None)
    arrays = to_arrays([score for score, _ in pairs], [truth for _, truth in pairs])
    value = float(statistic(*arrays, np.ones((1, len(pairs))))[0])
    if math.isnan(value):
        return Estimate(None)
    counts = np.random.default_rng(0).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), RESAMPLES)
    drawn = statistic(*arrays, counts.astype(float))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def regret_at(k: int, scores: Sequence[float], truths: Sequence[float]) -> float:
    """Return how far the best of the ``k`` highest scored lies below the best of all.

    Where scores tie at the end of the ``k``, it is what any choice among them gives on average.
    """
    bar = sorted(scores, reverse=True)[min(k, len(scores)) - 1]
    above = [truth for score, truth in zip(scores, truths, strict=True) if score > bar]
    tied = sorted(truth for score, truth in zip(scores, truths, strict=True) if score == bar)
    room = min(k, len(scores)) - len(above)
    floor = max(above, default=-math.inf)
    total = math.comb(len(tied), room)
    # The best of ``room`` of them is the one at ``index`` in C(index, room - 1) of all choices.
    expected = sum(math.comb(index, room - 1) / total * max(floor, truth) for index, truth in enumerate(tied))
    return max(truths) - expected


def ndcg_at(k: int, scores: Sequence[float], truths: Sequence[float]) -> float:
    """Return the normalised discounted cumulative gain of the ``k`` highest scored (Järvelin & Kekäläinen 2002).

    A design gains its accuracy above the worst; tied scores share the gains of their places.
    """
    worst = min(truths)
    if max(truths) == worst:
        return 1.0
    discounts = [1 / math.log2(place + 2) for place in range(min(k, len(scores)))]
    discounts += [0.0] * (len(scores) - len(discounts))
    by_score: dict[float, list[float]] = {}
    for score, truth in zip(scores, truths, strict=True):
        by_score.setdefault(score, []).append(truth - worst)
    gain, place = 0.0, 0
    for score in sorted(by_score, reverse=True):
        gains = by_score[score]
        gain += fmean(gains) * math.fsum(discounts[place : place + len(gains)])
        place += len(gains)
    ideal = sorted((truth - worst for truth in truths), reverse=True)
    return gain / math.fsum(map(math.prod, zip(ideal, discounts, strict=True)))


def judge(
    predictor: str,
    designs: Sequence[TrainedDesign],
    scores: Mapping[str, float],
    ks: Sequence[int] = (1, 5, 10),
) -> Agreement:
    """Return how well scores order designs that were trained alone; higher scores are to be better.

    Args:
        predictor: What scored.
        designs: The designs with their trainings, in any order.
        scores: By digest; designs without one are left out.
        ks: How many of the highest scored regret and nDCG look at.
    """
    scored = [design for design in designs if design.architecture.digest in scores]
    given = [scores[design.architecture.digest] for design in scored]
    truths = [design.val_top1 for design in scored]
    by_macs = sorted(zip((design.macs for design in scored), given, truths, strict=True))
    edges = [round(quarter * len(scored) / 4) for quarter in range(5)]
    quarters = [by_macs[low:high] for low, high in pairwise(edges)]
    return Agreement(
        predictor,
        len(scored),
        estimate(kendall_taus, given, truths),
        estimate(spearman_rhos, given, truths),
        tuple(
            estimate(kendall_taus, [score for _, score, _ in part], [truth for _, _, truth in part])
            for part in quarters
        ),
        {k: regret_at(k, given, truths) for k in ks if k < len(scored)},
        {k: ndcg_at(k, given, truths) for k in ks if k < len(scored)},
    )


def noise_ceiling(designs: Sequence[TrainedDesign]) -> list[Agreement]:
    """Return how well a training with one seed orders the designs as a training with another does, for pairs of seeds.

    No score of one training can be expected to do better against one training; against the mean of several it can,
    a little.
    """
    seeds = sorted({run.seed for design in designs for run in design.runs})
    found = []
    for one, other in combinations(seeds, 2):
        both = [
            (design, {run.seed: run for run in design.runs})
            for design in designs
            if {one, other} <= {run.seed for run in design.runs}
        ]
        if len(both) < LEAST_DESIGNS:
            continue
        truth = [TrainedDesign(d.architecture, d.origin, (runs[other],)) for d, runs in both]
        scores = {d.architecture.digest: runs[one].val_top1 for d, runs in both}
        found.append(judge(f"seed {one} against seed {other}", truth, scores))
    return found


def size_baselines(designs: Sequence[TrainedDesign]) -> list[Agreement]:
    """Return how well MACs and parameters alone order the designs, more being taken for better."""
    macs = {design.architecture.digest: float(design.macs) for design in designs}
    params = {design.architecture.digest: float(design.params) for design in designs}
    return [judge("MACs", designs, macs), judge("parameters", designs, params)]
