"""What to try next: batches of parameters for NSGA-II, TPE and random search.

A batch depends on its seed and on the batches finished before it, so every batch draws from fresh random
numbers. All three draw what Optuna's ``Study.ask`` and ``Study.tell`` draw with the sampler of that name.

NSGA-II and random search are asked directly through the hooks of ``BaseSampler``: with a hundred parameters,
``ask`` and ``tell`` would take far longer than the drawing, since they store and copy each parameter by itself.
TPE looks at all trials of a study, running ones included, and takes so long itself that it has such a study.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.search.nsga2 import Nsga2Sampler
from nas.search.objectives import Direction
from search_spaces.choices import Choice, Value
from search_spaces.errors import RequestError, nearest

SAMPLERS = ("nsga2", "tpe", "random")
#: The attribute of a trial that says its generation of NSGA-II; databases have it by this name.
GENERATION = "_Evolution:generation"
#: The attribute of a trial that no sampler drew: all designs of its search were listed.
LISTED = "listed"
_FIXED_PARAMS = "fixed_params"  # the attribute in which Optuna keeps what a trial was enqueued with


class Proposer(ABC):
    """Proposes batches of trials and learns what became of them.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction]) -> None:
        self._distributions = to_distributions(choices)
        self._study = optuna.create_study(directions=list(directions))

    @abstractmethod
    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """Return ``count`` running trials that have all their parameters.

        Args:
            seed: Seed of the batch.
            count: Trials.
            initial: Parameters of the first trials, which draw none.
        """

    @abstractmethod
    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """Finish trials that were asked for.

        Args:
            trials: A whole batch, with its constraints set.
            values: Objectives of each; None for one that has none: it exceeds a limit, or could not be evaluated.
        """

    @abstractmethod
    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        sampler_attrs: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """Go on from a batch that an earlier process proposed and finished.

        Args:
            params: Parameters of its trials.
            sampler_attrs: What their ``system_attrs`` were.
            values: As for `tell`.
        """


def create_proposer(
    sampler: str, choices: Sequence[Choice], population: int, directions: Sequence[Direction]
) -> Proposer:
    """Return the proposer of a sampler.

    Args:
        sampler: ``nsga2``, ``tpe`` or ``random``.
        choices: What every trial draws.
        population: Trials of a generation of NSGA-II; half of the random ones that TPE begins with.
        directions: ``maximize`` or ``minimize`` for each objective.

    Raises:
        RequestError: If there is no such sampler.
    """
    if sampler == "nsga2":
        return Nsga2Proposer(choices, directions, population)
    if sampler == "tpe":
        return TpeProposer(choices, directions, 2 * population)
    if sampler == "random":
        return RandomProposer(choices, directions)
    raise RequestError(f"--sampler: unknown sampler '{sampler}' ({nearest(sampler, SAMPLERS)})")


def to_distributions(choices: Sequence[Choice]) -> dict[str, CategoricalDistribution]:
    """Return the choices as Optuna's parameters."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in choices}


class _HookProposer(Proposer):
    """Calls the hooks of a sampler as ``Study.ask`` and ``Study.tell`` do, and stores no trial.

    For samplers that do not look at the trials of the study.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction]) -> None:
        super().__init__(choices, directions)
        self._count = 0  # trials so far

    @abstractmethod
    def _start_batch(self, seed: int) -> BaseSampler:
        """Return the sampler that draws a batch."""

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`."""
        sampler = self._start_batch(seed)
        trials = [self._new_trial(params) for params in initial]
        return trials + [self._draw(sampler, self._new_trial()) for _ in range(count - len(initial))]

    def _new_trial(self, params: Mapping[str, Value] | None = None) -> FrozenTrial:
        """Return a running trial with the next number and the parameters that it has already."""
        number, self._count = self._count, self._count + 1
        return FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=dict(params or {}),
            distributions=dict(self._distributions),
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )

    def _draw(self, sampler: BaseSampler, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with its parameters drawn."""
        study = self._study
        sampler.before_trial(study, trial)
        search_space = sampler.infer_relative_search_space(study, trial)
        related = sampler.sample_relative(study, trial, search_space)
        trial.params = {
            name: related[name]
            if name in related
            else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self._distributions.items()
        }
        return trial


class RandomProposer(_HookProposer):
    """Random search, which learns nothing from its trials."""

    def _start_batch(self, seed: int) -> BaseSampler:
        return RandomSampler(seed=seed)

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""

    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        sampler_attrs: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """See `Proposer.resume`."""


class Nsga2Proposer(_HookProposer):
    """NSGA-II, whose sampler remembers what it needs of earlier trials.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.
        population: Trials of a generation.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction], population: int) -> None:
        super().__init__(choices, directions)
        self._sampler = Nsga2Sampler(self._distributions, population, seed=0)

    def _start_batch(self, seed: int) -> BaseSampler:
        self._sampler.reseed(seed)
        return self._sampler

    def _draw(self, sampler: BaseSampler, trial: FrozenTrial) -> FrozenTrial:
        super()._draw(sampler, trial)
        trial.system_attrs = {GENERATION: self._sampler.generation_of(trial.number)}
        return trial

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
        for trial, objectives in zip(trials, values, strict=True):
            state = _state_of(trial, objectives)
            if state is TrialState.PRUNED:
                # It takes part by how much it exceeds the limits, which costs nothing to know: constrained
                # domination looks at objectives of designs within the limits alone.
                state, objectives = TrialState.COMPLETE, [0.0] * len(self._study.directions)
            self._sampler.after_trial(self._study, trial, state, objectives)

    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        sampler_attrs: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """See `Proposer.resume`."""
        trials = [self._new_trial(one) for one in params]
        for trial, attrs in zip(trials, sampler_attrs, strict=True):
            trial.system_attrs = dict(attrs)
            if GENERATION in attrs:
                self._sampler.resume_trial(trial.number, attrs[GENERATION])
        self.tell(trials, values)


class _SharedChoice(CategoricalDistribution):
    """A choice that all trials of a study share, since Optuna compares and copies it for each of them."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__

    def __deepcopy__(self, memo: object) -> _SharedChoice:
        return self


class TpeProposer(Proposer):
    """TPE, multivariate for one objective; a study in memory holds all trials for it.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.
        random_trials: Trials that are drawn at random before.
    """

    def __init__(
        self, choices: Sequence[Choice], directions: Sequence[Direction], random_trials: int
    ) -> None:
        super().__init__(choices, directions)
        self._shared: dict[str, BaseDistribution] = {
            choice.name: _SharedChoice(choice.options) for choice in choices
        }
        self._random_trials = random_trials
        self._running: dict[int, optuna.Trial] = {}

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`."""
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=self._random_trials)
        for params in initial:
            self._study.enqueue_trial(dict(params))
        asked = [self._study.ask(self._shared) for _ in range(count)]
        self._running = {trial.number: trial for trial in asked}
        return [
            _without_fixed_params(trial)
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
        asked = [self._running.pop(trial.number) for trial in trials]
        if any(running.params != trial.params for running, trial in zip(asked, trials, strict=True)):
            # What was drawn again takes the place of what was asked for, in the order of the batch.
            for running in asked:
                self._study.tell(running, state=TrialState.FAIL)
            params, attrs = [trial.params for trial in trials], [trial.system_attrs for trial in trials]
            self.resume(params, attrs, values)
            return
        for running, trial, objectives in zip(asked, trials, values, strict=True):
            for name, violation in trial.constraints.items():
                running.set_constraint(name, violation)
            self._study.tell(running, objectives, _state_of(trial, objectives))

    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        sampler_attrs: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """See `Proposer.resume`."""
        for one, attrs, objectives in zip(params, sampler_attrs, values, strict=True):
            trial = create_trial(
                state=TrialState.FAIL,
                params=dict(one),
                distributions=self._shared,
                system_attrs=dict(attrs),
            )
            trial.values, trial.state = objectives, _state_of(trial, objectives)
            self._study.add_trial(trial)


def _state_of(trial: FrozenTrial, objectives: Sequence[float] | None) -> TrialState:
    """Return the state in which a trial with its constraints ends; without objectives it was rejected or failed."""
    if objectives is not None:
        return TrialState.COMPLETE
    return TrialState.PRUNED if any(value > 0 for value in trial.constraints.values()) else TrialState.FAIL


def _without_fixed_params(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial that does not say what it was enqueued with."""
    copied = copy.copy(trial)
    copied.system_attrs = {key: value for key, value in trial.system_attrs.items() if key != _FIXED_PARAMS}
    return copied


class ListProposer(RandomProposer):
    """Proposes given designs one after the other, then none, whatever becomes of them.

    Args:
        choices: The parameters.
        directions: ``maximize`` or ``minimize`` for each objective.
        listed: Parameters of the designs.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        directions: Sequence[Direction],
        listed: Sequence[Mapping[str, Value]],
    ) -> None:
        super().__init__(choices, directions)
        self._listed = listed

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`; fewer than ``count`` are left at the end."""
        trials = [self._new_trial(params) for params in self._listed[self._count : self._count + count]]
        for trial in trials:
            trial.system_attrs = {LISTED: True}
        return trials
