"""Proposes children of the Pareto front that a prediction of their scores finds best.

It looks at designs and not at parameters, so inactive choices mean nothing to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial

from nas.search.constraint_attrs import violations_of
from nas.search.limits import Limits
from nas.search.pareto import front
from nas.search.prediction import Prediction, describe
from nas.search.proposers import RandomProposer
from search_spaces.architecture import Architecture
from search_spaces.choices import Value

_CANDIDATES = 16  # children that are looked at for one proposal
_MOST_LEARNED = 1000  # newest designs that a prediction is made from
_SHARE_OF_RANDOM = 0.1  # of the candidates
_CROSSOVER_PROBABILITY = 0.5  # of the others
_MUTATION_PROBABILITY = 0.5  # of a child that is not known
_AUGMENTATION = 0.05  # weight of the sum of objectives beside the worst of them


class ScreeningProposer(RandomProposer):
    """Of many children of the front, proposes those that a prediction of their scores finds best.

    What is known of a design beforehand, as its MACs are, is not predicted. Each proposal is the best child for a
    weighting of the objectives of its own, so a batch spreads over the front: the augmented Chebyshev scalarisation of
    Knowles 2006, "ParEGO", doi 10.1109/TEVC.2005.851274.

    Args:
        limits: The space, what the search optimises and its limits.
        random_trials: Evaluated designs before which proposals are random, at least 1.
    """

    def __init__(self, limits: Limits, random_trials: int) -> None:
        super().__init__(limits.space.choices, limits.goal.directions)
        self.limits, self.random_trials = limits, random_trials
        self.evaluated: dict[str, Architecture] = {}
        self._learned: deque[tuple[dict[str, float], list[float]]] = deque(maxlen=_MOST_LEARNED)
        self._front: list[tuple[Architecture, list[float]]] = []  # best in the first objective first
        #: By the name of a limit on what is measured and by digest, features of designs and how far they were beyond.
        self._beyond: dict[str, dict[str, tuple[dict[str, float], float]]] = {}

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`."""
        seen = max([len(self.evaluated), *map(len, self._beyond.values())])
        if seen < self.random_trials or not self.evaluated:
            return super().ask(seed, count, initial)
        space, rng = self.limits.space, Random(seed)
        designs = self.breed(count - len(initial), rng)
        designs += [space.sample(rng) for _ in range(count - len(initial) - len(designs))]
        return [self.new_trial(params) for params in [*initial, *(space.values(one, rng) for one in designs)]]

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
        new: list[tuple[Architecture, list[float]]] = []
        beforehand = dict(self.limits.goal.constraints)
        for trial, objectives in zip(trials, values, strict=True):
            design = self.limits.space.assemble(trial.params)
            for name, violation in violations_of(trial.system_attrs).items():
                if name not in beforehand:
                    self._beyond.setdefault(name, {})[design.digest] = describe(design), violation
            if objectives is not None and design.digest not in self.evaluated:
                self.evaluated[design.digest] = design
                self._learned.append((describe(design), list(objectives)))
                new.append((design, list(objectives)))
        known = [*self._front, *new]
        best = front([objectives for _, objectives in known], self.limits.goal.directions)
        self._front = [known[index] for index in best]

    def breed(self, count: int, rng: Random) -> list[Architecture]:
        """Return so many designs to propose, or fewer where no more are found."""
        children, goal = self._children(_CANDIDATES * count, rng), self.limits.goal
        children = self._keeping_measured_limits(children, count)
        if not children:
            return []
        losses = self._predict(children) * [-1.0 if one == "maximize" else 1.0 for one in goal.directions]
        best = losses[front(losses.tolist(), ["minimize"] * len(goal.objectives))]
        # 0 is the best and 1 the worst that a front of the children would have of an objective.
        losses = (losses - best.min(axis=0)) / np.maximum(np.ptp(best, axis=0), 1e-12)
        chosen: list[int] = []
        for _ in range(min(count, len(children))):
            # Normalised exponential numbers are even over all weightings.
            weights = np.array([rng.expovariate(1.0) for _ in goal.objectives])
            weighted = losses * (weights / weights.sum())
            loss = weighted.max(axis=1) + _AUGMENTATION * weighted.sum(axis=1)
            loss[chosen] = np.inf
            chosen.append(int(loss.argmin()))
        return [children[index] for index in chosen]

    def parents(self) -> list[Architecture]:
        """Return the designs of the Pareto front."""
        return [design for design, _ in self._front]

    def _keeping_measured_limits(self, designs: list[Architecture], least: int) -> list[Architecture]:
        """Return the designs that are predicted to keep limits on what is measured; the nearest where they are few."""
        if not self._beyond or not designs:
            return designs
        features, excess = [describe(design) for design in designs], np.zeros(len(designs))
        for known in self._beyond.values():
            newest = list(known.values())[-_MOST_LEARNED:]
            predict = Prediction([one for one, _ in newest], [value for _, value in newest])
            excess += np.maximum(predict(features), 0.0)
        order = np.argsort(excess, kind="stable")
        kept = max(least, int((excess <= 0).sum()))
        return [designs[index] for index in sorted(order[:kept].tolist())]

    def _predict(self, designs: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Return the objectives of designs ``(n, objectives)``, predicted where they are not known beforehand."""
        scores = [self.limits.scores(design) for design in designs]
        features = [describe(design) for design in designs]
        known = [one for one, _ in self._learned]
        columns = []
        for column, name in enumerate(self.limits.goal.objectives):
            if name in scores[0]:
                columns.append(np.array([one[name] for one in scores]))
            else:
                learned = [objectives[column] for _, objectives in self._learned]
                columns.append(Prediction(known, learned)(features))
        return np.stack(columns, axis=1)

    def _children(self, count: int, rng: Random) -> list[Architecture]:
        """Return so many designs within the limits that are not known, or fewer where few are found."""
        space, parents = self.limits.space, self.parents()
        found: dict[str, Architecture] = {}
        to_shrink = count // _CANDIDATES  # as many as are proposed, since shrinking takes long
        for _ in range(2 * count):
            if len(found) == count:
                break
            self.meanwhile()
            if rng.random() < _SHARE_OF_RANDOM:
                child = space.sample(rng)
            elif rng.random() < _CROSSOVER_PROBABILITY:
                child = space.crossover(rng.choice(parents), rng.choice(parents), rng)
            else:
                child = rng.choice(parents)
            if child.digest in self.evaluated or rng.random() < _MUTATION_PROBABILITY:
                child = space.mutate(child, rng, rng.choice((1, 2, 4)) / len(space.choices))
            within = self.limits.keeps(child)
            if not within and to_shrink:
                to_shrink -= 1
                child = self.limits.shrink(child, rng)
                within = self.limits.keeps(child)
            if within and child.digest not in self.evaluated:
                found[child.digest] = child
        return list(found.values())
