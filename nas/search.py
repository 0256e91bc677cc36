"""The search itself: propose a batch, reject and deduplicate, evaluate the rest, tell.

Proposals are made batch by batch. A batch depends on the seed, its number and the finished batches
before it, never on the number of workers or on which of them was first; so one seed gives one search,
and a search that was killed in a batch proposes that batch again and finds what was finished of it in
the store.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.objectives import Goal
from nas.pareto import front
from nas.racing import bars
from nas.storage import Row, Store
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError, nearest
from search_spaces.space import Space, Value

SAMPLERS = ("nsga2", "tpe", "random")
_IDLE_BATCHES = 25  # batches without a new design after which the space counts as searched


class Evaluations(Protocol):
    """Evaluates designs somewhere and yields ``{index: scores}`` of those that are done together."""

    def __call__(
        self, designs: list[Architecture], bars: list[float]
    ) -> Iterator[dict[int, dict[str, float]]]:
        """Evaluate ``designs``, each of which may be stopped once its ``top1`` is surely below its bar.

        Scores of a stopped one are of the images it saw, whose number they tell as ``stopped_after``.
        """


@dataclass(frozen=True)
class Plan:
    """How a search proposes.

    Args:
        goal: Objectives and limits.
        sampler: ``nsga2``, ``tpe`` or ``random``.
        batch_size: Proposals made at once; NSGA-II's population.
        trials: Designs to evaluate.
        seconds: Time to stop proposing after; None for no limit.
        seed: Seed of the proposals.
        racing: Largest probability of stopping a design wrongly; None stops none.
    """

    goal: Goal
    sampler: str = "nsga2"
    batch_size: int = 32
    trials: int = 256
    seconds: float | None = None
    seed: int = 0
    racing: float | None = None


class _Evolution(NSGAIISampler):
    """NSGA-II for one batch, whose trials are all proposed before one of them is told.

    It is told what every trial draws, and finds the batch's generation and parents once: for each trial anew
    it would go through all trials, and a long search would spend its time there.
    """

    def __init__(self, distributions: dict[str, BaseDistribution], population: int, seed: int) -> None:
        super().__init__(population_size=population, seed=seed)
        self._drawn = distributions
        self._generation: int | None = None
        self._parents: dict[int, list[FrozenTrial]] = {}

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        key = self._get_generation_key()
        if key in trial.system_attrs:
            return super().get_trial_generation(study, trial)
        if self._generation is None:
            self._generation = super().get_trial_generation(study, trial)
        else:
            study._storage.set_trial_system_attr(trial._trial_id, key, self._generation)
        return self._generation

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        if generation in self._parents:
            return self._parents[generation]
        found = super().get_parent_population(study, generation)
        # Asked again, Optuna lists them by number: proposals are to be those of its own sampler.
        self._parents[generation] = super().get_parent_population(study, generation)
        return found

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._drawn


class _Choice(CategoricalDistribution):
    """A choice that knows itself: Optuna compares each of a trial's parameters with itself several times."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__


def make_sampler(
    name: str, seed: int, population: int, drawn: dict[str, BaseDistribution] | None = None
) -> BaseSampler:
    """Return a fresh Optuna sampler.

    Args:
        name: ``nsga2``, ``tpe`` or ``random``.
        seed: Its seed.
        population: Trials of a generation.
        drawn: What every trial draws, by name; ``nsga2`` needs it.

    Raises:
        RequestError: If the name is unknown.
    """
    if name == "nsga2":
        return _Evolution(drawn or {}, population, seed)
    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=2 * population)
    if name == "random":
        return RandomSampler(seed=seed)
    raise RequestError(f"--sampler: unknown sampler '{name}' ({nearest(name, SAMPLERS)})")


@dataclass
class Search:
    """A search over one space into one store.

    Args:
        space: What is searched.
        store: Where finished trials are kept.
        plan: How to propose.
        evaluate: Evaluates designs.
        cheap: Scores known without a forward pass (costs, predicted latency).
        starts: Designs proposed first, by name.
    """

    space: Space
    store: Store
    plan: Plan
    evaluate: Evaluations
    cheap: Callable[[Architecture], dict[str, float]]
    starts: list[tuple[str, Architecture]] = field(default_factory=list)

    @cached_property
    def drawn(self) -> dict[str, BaseDistribution]:
        """What every trial draws, by name."""
        return {choice.name: _Choice(choice.options) for choice in self.space.choices}

    def run(self, report: Callable[[Row, int], None]) -> list[Row]:
        """Search until the plan's trials or time are used up, or the space is.

        Args:
            report: Told ``(row, designs evaluated so far)`` of every finished trial.

        Returns:
            All rows in the order of their proposals, those of earlier runs included.

        Raises:
            Interrupted: If the user asked to stop; what was finished is stored.
        """
        deadline = None if self.plan.seconds is None else time.monotonic() + self.plan.seconds
        stored: dict[int, dict[int, Row]] = {}
        for row in self.store.rows():
            stored.setdefault(row.batch, {})[row.place] = row
        known = {
            row.architecture.digest: row for rows in stored.values() for row in rows.values() if row.evaluated
        }
        study, number, idle = self._study(), 0, 0
        rows: list[Row] = []
        while len(known) < self.plan.trials and idle < _IDLE_BATCHES:
            if deadline is not None and time.monotonic() > deadline:
                break
            before = len(known)
            batch = self._batch(study, number, stored.get(number, {}), known, report, rows)
            rows.extend(batch)
            idle = idle + 1 if len(known) == before and number not in stored else 0
            number += 1
        # Batches of an earlier, longer run lie beyond the plan of this one and still count.
        rows.extend(row for n in sorted(stored) if n >= number for _, row in sorted(stored[n].items()))
        return rows

    def _study(self) -> optuna.Study:
        return optuna.create_study(directions=self.plan.goal.directions)

    def _batch(
        self,
        study: optuna.Study,
        number: int,
        stored: Mapping[int, Row],
        known: dict[str, Row],
        report: Callable[[Row, int], None],
        past: Sequence[Row],
    ) -> list[Row]:
        """Propose batch ``number``, finish what is not stored of it and tell the study in memory.

        ``past`` holds the rows of the batches before it.
        """
        plan = self.plan
        seed = (plan.seed * 100_003 + number) % 2**32
        study.sampler = make_sampler(plan.sampler, seed, plan.batch_size, self.drawn)
        origins = {}
        if number == 0:
            for name, start in self.starts:
                origins[start.digest] = name
                study.enqueue_trial(self.space.values(start))
        trials = [study.ask(self.drawn) for _ in range(max(plan.batch_size, len(origins)))]
        proposals = [self._proposal(trial, number, place, origins) for place, trial in enumerate(trials)]
        rows: dict[int, Row] = dict(stored)
        first: dict[str, int] = {}  # a design proposed twice in one batch is evaluated once
        todo: list[int] = []
        for place, row in enumerate(proposals):
            digest = row.architecture.digest
            if place in rows:
                continue
            if row.rejected is not None:
                rows[place] = row
            elif digest in known or digest in first:
                continue
            else:
                first[digest] = place
                todo.append(place)
        self.store.add([rows[place] for place in sorted(rows.keys() - stored.keys())])
        # The last batch may be cut short; a longer search proposes it again and finishes it.
        room = max(0, plan.trials - len(known))
        cut, todo = len(todo) > room, todo[:room]
        evaluated = sum(row.evaluated for row in (*past, *rows.values()))
        designs = [proposals[place].architecture for place in todo]
        reach = self._bars([proposals[place] for place in todo], past)
        for done in self.evaluate(designs, reach) if designs else ():
            finished = {todo[index]: _finished(proposals[todo[index]], s) for index, s in done.items()}
            self.store.add(list(finished.values()))
            for place, row in finished.items():
                rows[place] = known[row.architecture.digest] = row
                evaluated += 1
                report(row, evaluated)
        if cut:
            return [rows[place] for place in sorted(rows)]
        repeats = {
            place: _repeated(proposal, known[proposal.architecture.digest])
            for place, proposal in enumerate(proposals)
            if place not in rows
        }
        self.store.add(list(repeats.values()))
        rows |= repeats
        ordered = [rows[place] for place in range(len(trials))]
        for trial, row in zip(trials, ordered, strict=True):
            if row.rejected is None:
                study.tell(trial, plan.goal.values(row.scores))
            else:
                study.tell(trial, state=TrialState.PRUNED)
        return ordered

    def _bars(self, proposals: Sequence[Row], past: Sequence[Row]) -> list[float]:
        """Return what the ``top1`` of each proposal must reach: that of finished batches alone, whatever runs."""
        if self.plan.racing is None:
            return [0.0] * len(proposals)
        rivals = [row.scores for row in pareto_rows(past, self.plan.goal)]
        return bars([row.scores for row in proposals], rivals, self.plan.goal)

    def _proposal(self, trial: optuna.Trial, number: int, place: int, origins: Mapping[str, str]) -> Row:
        architecture = self.space.assemble(trial.params)
        scores = self.cheap(architecture)
        if self.plan.goal.limits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, limit in self.plan.goal.limits:
                    trial.set_constraint(name, scores[name] - limit)
        params: dict[str, Value] = dict(trial.params)
        memory = dict(trial.storage.get_trial_system_attrs(trial._trial_id))
        memory.pop("fixed_params", None)  # what a start was enqueued with: its params say it again
        return Row(
            batch=number,
            place=place,
            params=params,
            architecture=architecture,
            scores=scores,
            rejected=self.plan.goal.excess(scores),
            origin=origins.get(architecture.digest, "sampled"),
            memory=memory,
        )


def cheap_costs(architecture: Architecture) -> dict[str, float]:
    """Return ``macs``, ``params`` and ``activation_bytes`` of an architecture."""
    known = costs(architecture)
    return {"macs": known.macs, "params": known.params, "activation_bytes": known.activation_bytes}


def pareto_rows(rows: Sequence[Row], goal: Goal) -> list[Row]:
    """Return the rows of the Pareto front, best in the first objective first."""
    measured = [row for row in rows if row.measured]
    return [measured[i] for i in front([goal.values(row.scores) for row in measured], goal.directions)]


def _finished(proposal: Row, found: Mapping[str, float]) -> Row:
    """Return a proposal with the scores that an evaluation found."""
    scores = {**proposal.scores, **found}
    stopped = scores.pop("stopped_after", None)
    return replace(proposal, scores=scores, stopped_after=None if stopped is None else int(stopped))


def _repeated(proposal: Row, earlier: Row) -> Row:
    """Return a proposal answered from an earlier trial of its design."""
    return replace(proposal, scores=earlier.scores, repeat=True, stopped_after=earlier.stopped_after)
