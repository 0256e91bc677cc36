"""NSGA-II for parameters that are choices, behind Optuna's public ``BaseSampler``.

Deb, Pratap, Agarwal and Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
doi 10.1109/4235.996017; uniform crossover after Syswerda 1989, "Uniform crossover in genetic algorithms".

The parents of a generation are the best of the generation before and of its own parents: by fronts of
constrained domination, and within the last front that has room by crowding distance. A child takes every
parameter from one of two parents, which are the winners of a binary tournament each, and draws a few anew.

Random numbers are consumed in the order of Optuna's ``NSGAIISampler``, so both propose the same trials for the
same seed, which a test checks. Optuna's goes through all trials of the study for each proposal and keeps
generations in the study's private attributes; this one learns of finished trials from ``after_trial`` and
remembers the newest generation and its parents, which is all that NSGA-II needs.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.search.pareto import dominates

CROSSOVER_PROBABILITY = 0.9  # of a child that has two parents, not one
SWAPPING_PROBABILITY = 0.5  # of taking a parameter from the first of them


@dataclass(frozen=True)
class Individual:
    """A complete trial.

    Args:
        number: Its number in the study.
        params: Its parameters.
        values: Its objectives.
        violation: By how much it violates constraints in all; 0 where it is feasible.
    """

    number: int
    params: Mapping[str, Any]
    values: tuple[float, ...]
    violation: float = 0.0


def constrained_dominates(one: Individual, other: Individual, directions: Sequence[str]) -> bool:
    """Return whether ``one`` is to be preferred: feasible, or less infeasible, or dominating among feasible ones."""
    if one.violation or other.violation:
        return one.violation < other.violation
    return dominates(one.values, other.values, directions)


def rank_population(population: Sequence[Individual], directions: Sequence[str]) -> list[list[Individual]]:
    """Return the fronts of a population, best first, each in the order of the population.

    No member of a front is constrained-dominated by one of the same or of a later front.
    """
    dominated_by = _domination_matrix(population, directions)
    remaining = np.ones(len(population), dtype=bool)
    fronts = []
    while remaining.any():
        front = remaining & ~dominated_by[:, remaining].any(axis=1)
        fronts.append([one for one, belongs in zip(population, front, strict=True) if belongs])
        remaining &= ~front
    return fronts


def _domination_matrix(population: Sequence[Individual], directions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return the matrix (n, n) that says of each individual, by row, which others constrained-dominate it."""
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    costs = np.array([one.values for one in population], dtype=float).reshape(-1, len(signs)) * signs
    violations = np.array([one.violation for one in population])
    mine, theirs = costs[:, None], costs[None, :]
    dominated = (theirs <= mine).all(axis=2) & (theirs < mine).any(axis=2)
    infeasible = (violations[:, None] > 0) | (violations[None, :] > 0)
    return np.where(infeasible, violations[None, :] < violations[:, None], dominated)


def sort_by_crowding(front: Sequence[Individual]) -> list[Individual]:
    """Return a front, the least crowded first.

    The crowding distance adds up over the objectives how far the two neighbours of an individual are apart,
    as a share of the objective's finite range. The ends have a neighbour at infinity, and neighbours of equal
    values, infinite ones too, are not apart.
    """
    order = list(front)
    distances = dict.fromkeys((one.number for one in order), 0.0)
    for objective in range(len(order[0].values)):
        order.sort(key=lambda one: one.values[objective])
        values = [one.values[objective] for one in order]
        if values[0] == values[-1]:
            continue
        width = _finite_range(values)
        bounded = [-math.inf, *values, math.inf]
        for one, below, above in zip(order, bounded, bounded[2:], strict=False):
            if below != above:
                distances[one.number] += (above - below) / width
    return sorted(order, key=lambda one: distances[one.number])[::-1]


def _finite_range(values: Sequence[float]) -> float:
    """Return the difference of the ends of sorted values, infinities aside; 1 where it is not positive."""
    lowest = next(value for value in values if value != -math.inf)
    highest = next(value for value in reversed(values) if value != math.inf)
    return highest - lowest if highest > lowest else 1.0


def select_parents(
    population: Sequence[Individual], size: int, directions: Sequence[str]
) -> list[Individual]:
    """Return the best ``size`` of a population: whole fronts, then the least crowded of the next one."""
    parents: list[Individual] = []
    for front in rank_population(population, directions):
        room = size - len(parents)
        if len(front) >= room:
            return parents + sort_by_crowding(front)[:room]
        parents += front
    return parents


class Nsga2Sampler(BaseSampler):
    """NSGA-II over a fixed list of choices.

    Args:
        search_space: What every trial draws, in the order in which it is drawn.
        population_size: Complete trials of a generation.
        seed: Seed of the random numbers.
        counts_late: Whether trials that end when a later generation has begun count to that one. Optuna's leaves
            them out, which loses most of them where whole batches are asked for before earlier ones are told of.

    Raises:
        ValueError: If a generation would have no two parents.
    """

    def __init__(
        self,
        search_space: Mapping[str, CategoricalDistribution],
        population_size: int,
        seed: int,
        *,
        counts_late: bool = False,
    ) -> None:
        if population_size < 2:
            raise ValueError(f"a population needs at least 2 trials, not {population_size}")
        self._search_space: dict[str, BaseDistribution] = dict(search_space)
        self._population_size = population_size
        self._counts_late = counts_late
        self._generation = 0
        self._members: list[Individual] = []  # complete trials of the newest generation, by number
        self._parents: list[Individual] = []  # whom they descend from, by number; none in generation 0
        self._running: dict[int, int] = {}  # generation of each unfinished trial, by number
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Begin the random numbers anew."""
        self._rng = np.random.RandomState(seed)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the search space, which is the same for every trial."""
        return self._search_space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a child's parameters but for mutated ones; none in generation 0, which is random."""
        directions = _names(study.directions)
        parents = self._parents
        if len(self._members) >= self._population_size:
            # The first child chooses among parents as they were selected, later ones among them by number.
            parents = self._begin_generation(self._generation + 1, directions)
        self._running[trial.number] = self._generation
        if not parents:
            return {}
        child = self._cross(parents, directions)
        kept = self._rng.rand(len(child)) >= 1.0 / max(1, len(child))  # on average one is mutated
        return {name: value for (name, value), keep in zip(child.items(), kept, strict=True) if keep}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter of generation 0, or a mutated one."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Count a complete trial to its generation; one that is pruned or failed belongs to none."""
        generation = self._running.pop(trial.number, None)
        if generation is None or (generation < self._generation and not self._counts_late):
            return
        if state is TrialState.COMPLETE and values is not None:
            violation = sum(value for value in trial.constraints.values() if value > 0)
            individual = Individual(trial.number, dict(trial.params), tuple(values), violation)
            insort(self._members, individual, key=lambda one: one.number)

    def generation_of(self, number: int) -> int:
        """Return the generation of an unfinished trial."""
        return self._running[number]

    def resume_trial(self, study: optuna.Study, number: int, generation: int) -> None:
        """Take over an unfinished trial that an earlier sampler proposed in ``generation``, and enter that."""
        if generation > self._generation:
            self._begin_generation(generation, _names(study.directions))
        self._running[number] = generation

    def _begin_generation(self, generation: int, directions: Sequence[str]) -> list[Individual]:
        """Enter a generation; return its parents in the order of their selection."""
        selected = select_parents([*self._members, *self._parents], self._population_size, directions)
        self._generation, self._members = generation, []
        self._parents = sorted(selected, key=lambda one: one.number)
        return selected

    def _cross(self, parents: Sequence[Individual], directions: Sequence[str]) -> dict[str, Any]:
        """Return what a child inherits: from two parents by uniform crossover, or all from one."""
        if self._rng.rand() >= CROSSOVER_PROBABILITY:
            only = parents[self._rng.choice(len(parents))]
            return {name: only.params[name] for name in self._search_space}
        first = self._tournament(parents, directions)
        second = self._tournament([one for one in parents if one is not first], directions)
        from_second = self._rng.rand(len(self._search_space)) >= SWAPPING_PROBABILITY
        return {
            name: (second if swap else first).params[name]
            for name, swap in zip(self._search_space, from_second, strict=True)
        }

    def _tournament(self, candidates: Sequence[Individual], directions: Sequence[str]) -> Individual:
        """Return the better of two that are drawn with replacement, the second where neither is."""
        one, other = (candidates[self._rng.choice(len(candidates))] for _ in range(2))
        return one if constrained_dominates(one, other, directions) else other


def _names(directions: Sequence[StudyDirection]) -> list[str]:
    return [direction.name.lower() for direction in directions]
