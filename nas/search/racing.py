"""Racing: a design that another is almost surely better than does not see all validation images.

The N validation images of a search are a finite population. They are seen in one order, which the seed draws,
so the first n are n draws without replacement, and of a design that is right on K of the N images the number
right among them is hypergeometric. A rival that was seen to the end has a known count T and, being at least
as good in every other objective, dominates the design unless K >= T. At a look after n images with k right the
design is stopped if, were K = T, so few would be right with a probability of at most delta / looks:

    P(X <= k) <= delta / looks,    X ~ Hypergeometric(N, T, n).

For K > T that probability is smaller still, so no single look stops a design with K >= T with more than
delta / looks, and by the union bound all looks together stop it with at most delta. The probability is over
the order of the images, for one design and a rival's count that were not chosen by looking at that order. It
is a statement on each design, not on all designs of a search at once.

The tail is computed and not bounded, as right and wrong leave nothing else to know. The Hoeffding-Serfling
inequality (Serfling 1974; Bardenet and Maillard 2015, arXiv 1309.4029), which holds for all values in 0..1,
bounds the same tail from above: P(X <= k) <= exp(-2 n (T/N - k/n)^2 / (1 - (n - 1)/N)). What is certain is
part of the rule: where k and all images left are fewer than T, the tail is 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from nas.search.objectives import Goal
from nas.search.pareto import dominates

LOOKS = 8  # parts that the validation images are cut into; the last ends the evaluation


def required_top1(
    designs: Sequence[Mapping[str, float]], rivals: Sequence[Mapping[str, float]], goal: Goal
) -> list[float]:
    """Return for every design the ``top1`` in percent below which a rival dominates it; 0 if none can.

    Args:
        designs: Their analytic scores.
        rivals: Scores of designs that saw all validation images.
        goal: Objectives, ``top1`` among them.
    """
    rival_values = [(rival["top1"], goal.values(rival)) for rival in rivals]
    required = []
    for scores in designs:
        worst = goal.values({**scores, "top1": -math.inf})
        top1s = (top1 for top1, values in rival_values if dominates(values, worst, goal.directions))
        required.append(max(top1s, default=0.0))
    return required


def stop_thresholds(sizes: Sequence[int], required_top1: float, delta: float) -> list[int]:
    """Return for every validation batch how many images right so far, or fewer, stop a design after it.

    Args:
        sizes: Images of the batches, in order.
        required_top1: ``top1`` in percent, over all these images, that the design must reach.
        delta: Largest probability of stopping a design that reaches it.

    Returns:
        -1 after a batch where nothing stops it, which is so after the last.
    """
    ends = list(accumulate(sizes))
    total = ends[-1]
    looks = {bisect_left(ends, total * part / LOOKS) for part in range(1, LOOKS)} - {len(ends) - 1}
    needed = round(required_top1 * total / 100)
    return [
        stop_threshold(total, needed, seen, delta / len(looks)) if batch in looks else -1
        for batch, seen in enumerate(ends)
    ]


def stop_threshold(total: int, needed: int, seen: int, risk: float) -> int:
    """Return the largest count k with ``P(X <= k) <= risk``, or -1: X right of ``seen``, ``needed`` of ``total``.

    Args:
        total: Images in all.
        needed: Images of all that are right.
        seen: Images drawn without replacement.
        risk: Below a quarter, so that k is below the mean of X.
    """
    right = max(0, needed - (total - seen))
    probability = 0.0
    while True:
        log_count = _log_choose(needed, right) + _log_choose(total - needed, seen - right)
        probability += math.exp(log_count - _log_choose(total, seen))
        if probability > risk:
            return right - 1
        right += 1


def _log_choose(n: int, k: int) -> float:
    """Return the logarithm of ``n`` over ``k``."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
