"""What choices are worth at equal cost: adjusted means of accuracies, with bootstrap intervals.

Accuracies are explained, by least squares, by the MACs (a parabola in their logarithm) and by the shares of values
that ``choice_shares`` gives: the operators of all stages at once, and every other choice together with the operators.
The coefficient of a value is then the difference, in points of accuracy at equal MACs, between a stage that has it
throughout and one that has the reference throughout, whatever else the designs have at those MACs: the population
marginal mean of Searle, Speed & Milliken (The American Statistician 34, 1980), which for designs drawn at random is the
average marginal component effect of Hainmueller, Hopkins & Yamamoto (Political Analysis 22, 2014). Intervals are from
fits to designs drawn with replacement (Freedman, The Annals of Statistics 9, 1981), widened for the number of
coefficients.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.insight.choice_shares import OPERATOR, Choice, Shares, choice_shares, in_order
from nas.ranking.agreement import CONFIDENCE, Estimate
from nas.ranking.correlation import Array
from search_spaces.architecture import Architecture
from search_spaces.cost import costs

#: Designs that have a value, and that do not have it throughout, below which nothing is said of it.
LEAST_WITH = 8
#: Designs for each coefficient below which nothing is fitted.
LEAST_DESIGNS_A_COEFFICIENT = 4
#: How often designs are drawn again.
RESAMPLES = 1000


@dataclass(frozen=True)
class Effect:
    """What a value of a choice is worth at equal MACs, against another value.

    Args:
        choice: The choice.
        value: The value.
        reference: What it is compared with.
        points: Points of accuracy that it has more, the stage having it in all its blocks.
        designs: Designs that have it.
    """

    choice: Choice
    value: str
    reference: str
    points: Estimate
    designs: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return is_clear(self.points)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "clear": self.clear}


def is_clear(points: Estimate) -> bool:
    """Return whether an interval leaves zero out."""
    return points.low is not None and points.high is not None and not points.low <= 0 <= points.high


@dataclass(frozen=True)
class Fit:
    """Coefficients, and how they vary over designs.

    Args:
        values: The coefficients ``(P,)``.
        drawn: Those of fits to designs drawn again ``(resamples, P)``.
        widening: What distances of ``drawn`` from ``values`` are multiplied by: residuals are smaller than errors are.
    """

    values: Array
    drawn: Array
    widening: float

    def estimate(self, weights: Array) -> Estimate:
        """Return the sum of the coefficients times weights ``(P,)``, with its interval of 95%."""
        value, tail = float(self.values @ weights), 50 * (1 - CONFIDENCE)
        low, high = np.percentile(self.drawn @ weights - value, [tail, 100 - tail])
        return Estimate(value, value + self.widening * float(low), value + self.widening * float(high))


def find_effects(designs: Iterable[tuple[Architecture, float]]) -> list[Effect]:
    """Return the effects of all choices that differ among designs, operators first.

    Stages count by themselves where there are designs enough, else all together; where even for that there are too few,
    a choice has no effects here.

    Args:
        designs: Designs with their accuracies in percent, in any order.
    """
    known = sorted(designs, key=lambda each: (each[0].digest, each[1]))
    if not known:
        return []
    accuracies = np.array([accuracy for _, accuracy in known])
    cost = cost_columns([costs(design).macs for design, _ in known])
    found, fitted = list[Effect](), set[tuple[str, str]]()
    for by_stage in (True, False):
        shares = [choice_shares(design, by_stage) for design, _ in known]
        families = _families(shares)
        operators = families.get((OPERATOR, ""), [])
        for family, columns in families.items():
            explained = columns if columns is operators else [*operators, *columns]
            enough = LEAST_DESIGNS_A_COEFFICIENT * (cost.shape[1] + len(explained))
            if family not in fitted and len(known) >= enough:
                fitted.add(family)
                found += _effects_of(columns, explained, cost, shares, accuracies)
    return found


Column = tuple[Choice, str, str]


def _families(shares: Sequence[Shares]) -> dict[tuple[str, str], list[Column]]:
    """Return by name and operator the ``(choice, value, reference)`` of every choice whose value differs."""
    values: dict[Choice, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in shares:
        for choice, parts in each.items():
            for value in parts:
                values[choice][value] += 1
    families: dict[tuple[str, str], list[Column]] = defaultdict(list)
    for choice in sorted(values):
        counts = values[choice]
        if len(counts) < 2:
            continue
        common = {value for value, count in counts.items() if count >= LEAST_WITH}
        reference = in_order(common or set(counts))[0]
        families[choice.name, choice.operator] += [
            (choice, value, reference) for value in in_order(set(counts)) if value != reference
        ]
    return dict(sorted(families.items(), key=lambda item: item[0] != (OPERATOR, "")))


def _effects_of(
    wanted: Sequence[Column],
    columns: Sequence[Column],
    cost: Array,
    shares: Sequence[Shares],
    accuracies: Array,
) -> list[Effect]:
    matrix = np.column_stack([cost, *(_share_column(shares, choice, value) for choice, value, _ in columns)])
    fit, found = fit_by_designs(matrix, accuracies), []
    for choice, value, reference in wanted:
        index = cost.shape[1] + columns.index((choice, value, reference))
        having = np.count_nonzero(matrix[:, index])
        others = np.count_nonzero(_share_column(shares, choice, reference))
        if min(having, others) >= LEAST_WITH and is_estimable(matrix, index):
            estimate = fit.estimate(np.eye(matrix.shape[1])[index])
            found.append(Effect(choice, value, reference, estimate, int(having)))
    return found


def _share_column(shares: Sequence[Shares], choice: Choice, value: str) -> Array:
    return np.array([each.get(choice, {}).get(value, 0.0) for each in shares])


def cost_columns(macs: Sequence[float]) -> Array:
    """Return what costs explain: a constant, and the first and second power of the logarithm of the MACs ``(N, 3)``."""
    logarithms = np.log(np.asarray(macs, dtype=float))
    spread = float(logarithms.std())
    scaled = (logarithms - logarithms.mean()) / (spread or 1.0)
    return np.column_stack([np.ones_like(scaled), scaled, scaled**2])


def is_estimable(matrix: Array, index: int) -> bool:
    """Return whether a column of a matrix is no combination of the others, so that its coefficient means something."""
    others = np.delete(matrix, index, axis=1)
    return int(np.linalg.matrix_rank(matrix)) > int(np.linalg.matrix_rank(others))


def fit_by_designs(matrix: Array, accuracies: Array, resamples: int = RESAMPLES) -> Fit:
    """Fit accuracies ``(N,)`` to columns ``(N, P)``, with intervals over designs, which are the rows."""
    rows, columns = matrix.shape
    values = np.linalg.lstsq(matrix, accuracies, rcond=None)[0]
    counts = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), resamples).astype(float)
    products = np.einsum("ni,nj->nij", matrix, matrix).reshape(rows, -1)
    left = (counts @ products).reshape(resamples, columns, columns)
    right = counts @ (matrix * accuracies[:, None])
    # A value that no drawn design has gets 0 by this; it alters others by far less than is printed.
    left += 1e-9 * rows * np.eye(columns)
    drawn = np.linalg.solve(left, right[..., None])[..., 0]
    return Fit(values, drawn, math.sqrt(rows / max(1, rows - columns)))
