"""What to try next: batches of parameters for NSGA-II, a screened search, TPE and random search.

A batch depends on its seed and on the batches finished before it, so every batch draws from fresh random
numbers. NSGA-II, TPE and random search draw what Optuna's ``Study.ask`` and ``Study.tell`` draw with the sampler of
that name.

NSGA-II and random search are asked directly through the hooks of ``BaseSampler``: with a hundred parameters,
``ask`` and ``tell`` would take far longer than the drawing, since they store and copy each parameter by itself.
TPE looks at all trials of a study, running ones included, and takes so long itself that it has such a study.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.search.limits import Limits
from nas.search.nsga2 import Nsga2Sampler
from nas.search.objectives import Direction
from nas.search.proposers import DirectProposer, Proposer, RandomProposer
from nas.search.screening import ScreeningProposer
from search_spaces.choices import Choice, Value
from search_spaces.errors import RequestError, nearest

SAMPLERS = ("screened", "nsga2", "tpe", "random")
#: The attribute of a trial that says its generation of NSGA-II; databases have it by this name.
GENERATION = "_Evolution:generation"
#: The attribute of a trial that no sampler drew: all designs of its search were listed.
LISTED = "listed"
_FIXED_PARAMS = "fixed_params"  # the attribute in which Optuna keeps what a trial was enqueued with


def create_proposer(sampler: str, limits: Limits, population: int) -> Proposer:
    """Return the proposer of a sampler.

    Args:
        sampler: One of `SAMPLERS`.
        limits: The space, what the search optimises and its limits.
        population: Trials of a generation of NSGA-II; half of the random ones that others begin with.

    Raises:
        RequestError: If there is no such sampler.
    """
    choices, directions = limits.space.choices, limits.goal.directions
    if sampler == "nsga2":
        return Nsga2Proposer(choices, directions, population)
    if sampler == "tpe":
        # Multivariate, also for several objectives.
        return StudyProposer(
            choices, directions, lambda seed: TPESampler(seed=seed, n_startup_trials=2 * population)
        )
    if sampler == "screened":
        return ScreeningProposer(limits, population)
    if sampler == "random":
        return RandomProposer(choices, directions)
    raise RequestError(f"--sampler: unknown sampler '{sampler}' ({nearest(sampler, SAMPLERS)})")


class Nsga2Proposer(DirectProposer):
    """NSGA-II, whose sampler remembers what it needs of earlier trials.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.
        population: Trials of a generation.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction], population: int) -> None:
        super().__init__(choices, directions)
        self._sampler = Nsga2Sampler(self.distributions, population, seed=0, counts_late=True)

    def start_batch(self, seed: int) -> BaseSampler:
        """See `DirectProposer.start_batch`."""
        self._sampler.reseed(seed)
        return self._sampler

    def draw(self, sampler: BaseSampler, trial: FrozenTrial) -> FrozenTrial:
        """See `DirectProposer.draw`; its generation is noted on the trial."""
        super().draw(sampler, trial)
        trial.system_attrs = {GENERATION: self._sampler.generation_of(trial.number)}
        return trial

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
        for trial, objectives in zip(trials, values, strict=True):
            state = _state_of(trial, objectives)
            if state is TrialState.PRUNED:
                # It takes part by how much it exceeds the limits, which costs nothing to know: constrained
                # domination looks at objectives of designs within the limits alone.
                state, objectives = TrialState.COMPLETE, [0.0] * len(self.study.directions)
            self._sampler.after_trial(self.study, trial, state, objectives)

    def readmit(
        self, params: Sequence[Mapping[str, Value]], sampler_attrs: Sequence[Mapping[str, Any]]
    ) -> list[FrozenTrial]:
        """See `Proposer.readmit`."""
        trials = super().readmit(params, sampler_attrs)
        for trial in trials:
            if GENERATION in trial.system_attrs:
                generation = trial.system_attrs[GENERATION]
                self._sampler.resume_trial(self.study, trial.number, generation)
        return trials


class _SharedChoice(CategoricalDistribution):
    """A choice that all trials of a study share, since Optuna compares and copies it for each of them."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__

    def __deepcopy__(self, memo: object) -> _SharedChoice:
        return self


class StudyProposer(Proposer):
    """Asks a sampler of Optuna that looks at all trials; a study in memory holds them for it.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.
        create_sampler: Returns the sampler of a batch, which knows nothing but its seed and the study.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        directions: Sequence[Direction],
        create_sampler: Callable[[int], BaseSampler],
    ) -> None:
        super().__init__(choices, directions)
        self._shared: dict[str, BaseDistribution] = {
            choice.name: _SharedChoice(choice.options) for choice in choices
        }
        self._create_sampler = create_sampler
        self._running: dict[int, optuna.Trial] = {}

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`."""
        self.study.sampler = self._create_sampler(seed)
        for params in initial:
            self.study.enqueue_trial(dict(params))
        asked = [self.study.ask(self._shared) for _ in range(count)]
        self._running = {trial.number: trial for trial in asked}
        return [
            _without_fixed_params(trial)
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
        asked = [self._running.pop(trial.number, None) for trial in trials]
        if any(
            running is None or running.params != trial.params
            for running, trial in zip(asked, trials, strict=True)
        ):
            # What was drawn again takes the place of what was asked for, in the order of the batch.
            for running in filter(None, asked):
                self.study.tell(running, state=TrialState.FAIL)
            self._add(trials, values)
            return
        for running, trial, objectives in zip(filter(None, asked), trials, values, strict=True):
            for name, violation in trial.constraints.items():
                running.set_constraint(name, violation)
            self.study.tell(running, objectives, _state_of(trial, objectives))

    def readmit(
        self, params: Sequence[Mapping[str, Value]], sampler_attrs: Sequence[Mapping[str, Any]]
    ) -> list[FrozenTrial]:
        """See `Proposer.readmit`; the study has them once they are finished."""
        return [
            create_trial(
                state=TrialState.FAIL, params=dict(one), distributions=self._shared, system_attrs=dict(attrs)
            )
            for one, attrs in zip(params, sampler_attrs, strict=True)
        ]

    def _add(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """Add finished trials to the study."""
        attrs = [trial.system_attrs for trial in trials]
        for trial, objectives in zip(
            self.readmit([trial.params for trial in trials], attrs), values, strict=True
        ):
            trial.values, trial.state = objectives, _state_of(trial, objectives)
            self.study.add_trial(trial)


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
        trials = [self.new_trial(params) for params in self._listed[self.count : self.count + count]]
        for trial in trials:
            trial.system_attrs = {LISTED: True}
        return trials
