"""What every sampler does: it proposes batches of trials, and learns what became of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.objectives import Direction
from search_spaces.choices import Choice, Value


def to_distributions(choices: Sequence[Choice]) -> dict[str, CategoricalDistribution]:
    """Return the choices as Optuna's parameters."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in choices}


def do_nothing() -> None:
    """Stand where nothing is to be done meanwhile."""


class Proposer(ABC):
    """Proposes batches of trials and learns what became of them.

    Args:
        choices: What every trial draws.
        directions: ``maximize`` or ``minimize`` for each objective.

    Attributes:
        meanwhile: Called again and again by a proposer that takes long.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction]) -> None:
        self.meanwhile: Callable[[], None] = do_nothing
        self.distributions = to_distributions(choices)
        self.study = optuna.create_study(directions=list(directions))

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
    def readmit(
        self, params: Sequence[Mapping[str, Value]], sampler_attrs: Sequence[Mapping[str, Any]]
    ) -> list[FrozenTrial]:
        """Return the trials of a batch that an earlier process asked for, and take over from it what `ask` notes.

        Args:
            params: Parameters of its trials.
            sampler_attrs: What their ``system_attrs`` were.
        """

    def resume(
        self,
        params: Sequence[Mapping[str, Value]],
        sampler_attrs: Sequence[Mapping[str, Any]],
        values: Sequence[Sequence[float] | None],
    ) -> None:
        """Go on from a batch that an earlier process proposed and finished; see `readmit` and `tell`."""
        self.tell(self.readmit(params, sampler_attrs), values)


class DirectProposer(Proposer):
    """Calls the hooks of a sampler as ``Study.ask`` and ``Study.tell`` do, and stores no trial.

    For samplers that do not look at the trials of the study.
    """

    def __init__(self, choices: Sequence[Choice], directions: Sequence[Direction]) -> None:
        super().__init__(choices, directions)
        self.count = 0  # trials so far

    @abstractmethod
    def start_batch(self, seed: int) -> BaseSampler:
        """Return the sampler that draws a batch."""

    def ask(self, seed: int, count: int, initial: Sequence[Mapping[str, Value]] = ()) -> list[FrozenTrial]:
        """See `Proposer.ask`."""
        sampler = self.start_batch(seed)
        trials = [self.new_trial(params) for params in initial]
        return trials + [self.draw(sampler, self.new_trial()) for _ in range(count - len(initial))]

    def readmit(
        self, params: Sequence[Mapping[str, Value]], sampler_attrs: Sequence[Mapping[str, Any]]
    ) -> list[FrozenTrial]:
        """See `Proposer.readmit`."""
        trials = [self.new_trial(one) for one in params]
        for trial, attrs in zip(trials, sampler_attrs, strict=True):
            trial.system_attrs = dict(attrs)
        return trials

    def new_trial(self, params: Mapping[str, Value] | None = None) -> FrozenTrial:
        """Return a running trial with the next number and the parameters that it has already."""
        number, self.count = self.count, self.count + 1
        return FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=dict(params or {}),
            distributions=dict(self.distributions),
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )

    def draw(self, sampler: BaseSampler, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with its parameters drawn."""
        self.meanwhile()
        study = self.study
        sampler.before_trial(study, trial)
        search_space = sampler.infer_relative_search_space(study, trial)
        related = sampler.sample_relative(study, trial, search_space)
        trial.params = {
            name: related[name]
            if name in related
            else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self.distributions.items()
        }
        return trial


class RandomProposer(DirectProposer):
    """Random search, which learns nothing from its trials."""

    def start_batch(self, seed: int) -> BaseSampler:
        """See `DirectProposer.start_batch`."""
        return RandomSampler(seed=seed)

    def tell(self, trials: Sequence[FrozenTrial], values: Sequence[Sequence[float] | None]) -> None:
        """See `Proposer.tell`."""
