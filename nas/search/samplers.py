"""What to try next: batches of parameters drawn by Optuna's samplers.

The samplers are Optuna's, and draw what they draw through ``Study.ask`` and ``Study.tell``, to the last
parameter. Only what surrounds them is done otherwise, since with a hundred parameters it costs far more than
the drawing: ``ask`` writes each parameter by itself and copies the earlier ones every time, ``tell`` copies the
trial with its distributions, and NSGA-II goes through all trials of the study to find the last generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.objectives import Direction
from search_spaces.choices import Choice, Value
from search_spaces.errors import RequestError, nearest

SAMPLERS = ("nsga2", "tpe", "random")
_FIXED = "fixed_params"  # where Optuna keeps what a trial was enqueued with


@dataclass
class _Lineage:
    """All that NSGA-II needs of the trials before: the newest generation and its parents.

    Args:
        generation: Its number.
        members: Its complete trials, by number.
        parents: Whom it descends from, by number; none in generation 0.
    """

    generation: int = 0
    members: list[FrozenTrial] = field(default_factory=list)
    parents: list[FrozenTrial] = field(default_factory=list)


class _Evolution(NSGAIISampler):
    """NSGA-II that is told what every trial draws and remembers whom the newest generation descends from."""

    def __init__(
        self, drawn: dict[str, BaseDistribution], population: int, seed: int, lineage: _Lineage
    ) -> None:
        super().__init__(population_size=population, seed=seed)
        self._drawn = drawn
        self._full = population
        self._lineage = lineage

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._drawn

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        generation = self._lineage.generation + (len(self._lineage.members) >= self._full)
        study._storage.set_trial_system_attr(trial._trial_id, self._get_generation_key(), generation)
        return generation

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return self._lineage.members

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        lineage = self._lineage
        if generation <= lineage.generation:
            return lineage.parents
        chosen = self.select_parent(study, generation)
        lineage.generation, lineage.members = generation, []
        lineage.parents = sorted(chosen, key=lambda trial: trial.number)
        # Optuna has them in the order of its choice for the first trial of a generation, then by number.
        return chosen

    def remember(self, study: optuna.Study, trials: Iterable[FrozenTrial]) -> None:
        """Count finished trials to the generation that they were drawn in."""
        for trial in trials:
            generation = trial.system_attrs.get(self._get_generation_key())
            if generation is not None:
                # A generation that was drawn in an earlier run is entered.
                self.get_parent_population(study, generation)
                if trial.state is TrialState.COMPLETE:
                    self._lineage.members.append(trial)


class _Choice(CategoricalDistribution):
    """A choice that knows itself: Optuna compares each of a trial's parameters with itself several times."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__


class Proposer:
    """Draws batches with one of Optuna's samplers and is told what became of them.

    A batch depends on its seed and on what was told before it, so a new sampler draws every batch.

    Args:
        sampler: ``nsga2``, ``tpe`` or ``random``.
        choices: What every trial draws.
        population: Trials of a generation of NSGA-II.
        directions: ``maximize`` or ``minimize`` for each objective.

    Raises:
        RequestError: If there is no such sampler.
    """

    def __init__(
        self, sampler: str, choices: Sequence[Choice], population: int, directions: Sequence[Direction]
    ) -> None:
        if sampler not in SAMPLERS:
            raise RequestError(f"--sampler: unknown sampler '{sampler}' ({nearest(sampler, SAMPLERS)})")
        self._name, self._population = sampler, population
        self._drawn: dict[str, BaseDistribution] = {one.name: _Choice(one.options) for one in choices}
        self._lineage = _Lineage()
        self._study = optuna.create_study(sampler=self._sampler(0), directions=list(directions))

    def ask(self, seed: int, count: int, starts: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """Return ``count`` running trials that have drawn all their parameters.

        Args:
            seed: Seed of the batch.
            count: Trials.
            starts: Parameters of the first trials, which draw none.
        """
        study = self._study
        study.sampler = self._sampler(seed)
        for values in starts:
            study.enqueue_trial(dict(values))
        return [self._drawn_by(study.ask()) for _ in range(count)]

    def _drawn_by(self, trial: optuna.Trial) -> FrozenTrial:
        kept = self._study._storage.get_trial(trial._trial_id)
        params = dict(kept.system_attrs.get(_FIXED, {}))
        if not params:
            related = trial.relative_params
            params = {
                name: related[name]
                if name in related
                else self._study.sampler.sample_independent(self._study, kept, name, distribution)
                for name, distribution in self._drawn.items()
            }
        # A storage in memory hands out what it holds: parameters are set where samplers look for them.
        kept = self._study._storage.get_trial(trial._trial_id)
        kept.params, kept.distributions = params, self._drawn
        kept.system_attrs = {key: value for key, value in kept.system_attrs.items() if key != _FIXED}
        return kept

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """Finish trials that were asked for.

        Args:
            trials: A whole batch.
            values: Objectives of each; None for one that was rejected.
        """
        storage = self._study._storage
        for trial, found in zip(trials, values, strict=True):
            state = TrialState.PRUNED if found is None else TrialState.COMPLETE
            storage.set_trial_state_values(trial._trial_id, state, found)
        sampler = self._study.sampler
        if isinstance(sampler, _Evolution):
            sampler.remember(self._study, [storage.get_trial(trial._trial_id) for trial in trials])

    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        memory: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """Go on from a batch that was asked for and told earlier, as if it were told now.

        Args:
            params: Parameters of its trials.
            memory: What their ``system_attrs`` were.
            values: As for `tell`.
        """
        storage, study = self._study._storage, self._study._study_id
        trials = [storage.get_trial(storage.create_new_trial(study)) for _ in params]
        for trial, drawn, noted in zip(trials, params, memory, strict=True):
            trial.params, trial.distributions, trial.system_attrs = dict(drawn), self._drawn, dict(noted)
        self.tell(trials, values)

    def _sampler(self, seed: int) -> BaseSampler:
        """Return a fresh sampler."""
        if self._name == "nsga2":
            return _Evolution(self._drawn, self._population, seed, self._lineage)
        if self._name == "tpe":
            return TPESampler(seed=seed, n_startup_trials=2 * self._population)
        return RandomSampler(seed=seed)
