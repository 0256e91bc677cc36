"""Which choices matter at equal cost: Optuna's fANOVA, over choices that are active.

A trial has a hundred parameters, most of them of blocks and operators that its design does not have; an importance over
them is a smear. Here designs are given to Optuna anew, with the shares of values that ``choice_shares`` finds as
parameters, a knob where its operator is and nowhere else, and with what their accuracy has above that of designs of
their MACs as the objective. The importance of a choice is the sum over its values. PED-ANOVA, which looks at the best
tenth alone, was tried and left out: of 150 designs that is 15, and what came out first changed with the form of the
parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import create_trial

from nas.insight.choice_shares import OPERATOR, Choice, Shares, choice_shares
from nas.insight.effects import cost_columns
from nas.ranking.correlation import Array
from search_spaces.architecture import Architecture
from search_spaces.cost import costs

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: Designs below which no importance is computed.
LEAST_DESIGNS = 40


_LEAST_SPREAD = 1e-6  # points of accuracy; below it is what rounding leaves, of which fANOVA finds nothing


@dataclass(frozen=True)
class Importance:
    """How much a choice matters, of all choices together 1.

    Args:
        choice: The choice.
        share: The part of the variance of accuracies at equal MACs that it explains, of what all choices explain by
            themselves (fANOVA; Hutter, Hoos & Leyton-Brown, ICML 2014).
    """

    choice: Choice
    share: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def find_importances(designs: Iterable[tuple[Architecture, float]]) -> list[Importance]:
    """Return how much every choice that differs among designs matters, the most important one first.

    Args:
        designs: Designs with their accuracies in percent, in any order; below 40 nothing is said.
    """
    known = sorted(designs, key=lambda each: (each[0].digest, each[1]))
    if len(known) < LEAST_DESIGNS:
        return []
    gains, names = _gains_at_equal_cost(known), dict[str, Choice]()
    columns: dict[str, list[float]] = {}
    for (choice, value), column in _columns([choice_shares(design) for design, _ in known]).items():
        if np.ptp(column) > 1e-9:
            name = f"{choice.place} {choice.subject} {value}"
            names[name], columns[name] = choice, column.tolist()
    if not columns or np.ptp(gains) < _LEAST_SPREAD:
        return []
    space: dict[str, BaseDistribution] = dict.fromkeys(columns, FloatDistribution(-1, 1))
    # It loads scikit-learn, which sets environment variables.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction="maximize")
    study.add_trials(
        create_trial(value=gain, params={name: columns[name][row] for name in space}, distributions=space)
        for row, gain in enumerate(gains)
    )
    sums: dict[Choice, float] = defaultdict(float)
    for name, share in get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)).items():
        sums[names[name]] += share
    found = [Importance(choice, share) for choice, share in sums.items()]
    return sorted(found, key=lambda each: (-each.share, each.choice))


def _columns(shares: Sequence[Shares]) -> dict[tuple[Choice, str], Array]:
    """Return the shares of every value, those of knobs less what the share of their operator lets expect.

    So a knob tells nothing of whether its operator is there, which is for the choice of the operator to tell.
    """
    values = sorted({(choice, value) for each in shares for choice, parts in each.items() for value in parts})
    columns = {
        (choice, value): np.array([each.get(choice, {}).get(value, 0.0) for each in shares])
        for choice, value in values
    }
    for choice, value in values:
        if choice.operator:
            own, operator = columns[choice, value], columns[Choice(choice.stage, OPERATOR), choice.operator]
            columns[choice, value] = own - operator * (own.sum() / operator.sum())
    return columns


def _gains_at_equal_cost(designs: list[tuple[Architecture, float]]) -> list[float]:
    matrix = cost_columns([costs(design).macs for design, _ in designs])
    accuracies = np.array([accuracy for _, accuracy in designs])
    expected = matrix @ np.linalg.lstsq(matrix, accuracies, rcond=None)[0]
    gains: list[float] = (accuracies - expected).tolist()
    return gains
