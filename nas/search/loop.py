"""The search itself: propose a batch, reject and deduplicate, evaluate the rest, tell the sampler.

Proposals are made batch by batch. A batch depends on the seed, its number and the finished batches
before it, never on the number of workers or on which of them was first; so one seed gives one search,
and a search that was killed in a batch proposes that batch again and finds what was finished of it in
the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from optuna.trial import FrozenTrial

from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.racing import required_top1
from nas.search.samplers import Proposer, create_proposer
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space

_FRUITLESS_BATCHES = 25  # batches in a row without a new design after which the space counts as searched

#: Called with each evaluated trial and how many designs were evaluated so far.
OnResult = Callable[[TrialRecord, int], None]


class Evaluations(Protocol):
    """Evaluates designs somewhere and yields ``{index: scores}`` of those that are done together."""

    def __call__(
        self, designs: list[Architecture], required_top1: list[float]
    ) -> Iterator[dict[int, dict[str, float]]]:
        """Evaluate ``designs``, each of which may be stopped once its ``top1`` is surely below what is required.

        Scores of a stopped one are of the images it saw; their score ``stopped_after`` is how many these were.
        Where they hold ``images`` and ``correct``, these are how many they are of and the bits of the right ones.
        """


@dataclass(frozen=True)
class SearchConfig:
    """How a search proposes.

    Args:
        goal: Objectives and constraints.
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


@dataclass
class _Progress:
    """What the batches so far have shown.

    Args:
        evaluated: Trials of evaluated designs, by digest.
        front: The Pareto front of the finished batches; followed where designs race against it.
    """

    evaluated: dict[str, TrialRecord]
    front: list[TrialRecord] = field(default_factory=list)


@dataclass
class Search:
    """A search over one space into one store.

    Args:
        space: What is searched.
        store: Where finished trials are kept.
        config: How to propose.
        evaluate: Evaluates designs.
        analytic_scores: Returns scores known without a forward pass (costs, predicted latency).
        initial_designs: Designs proposed first, by name.
    """

    space: Space
    store: Store
    config: SearchConfig
    evaluate: Evaluations
    analytic_scores: Callable[[Architecture], dict[str, float]]
    initial_designs: list[tuple[str, Architecture]] = field(default_factory=list)

    @cached_property
    def earlier(self) -> list[TrialRecord]:
        """The trials of earlier runs, read when they are first asked for."""
        return self.store.records()

    def run(self, on_result: OnResult) -> list[TrialRecord]:
        """Search until the configured trials or time are used up, or the space is.

        Args:
            on_result: Called with ``(trial, designs evaluated so far)`` for every evaluated trial.

        Returns:
            All trials in the order of their proposals, those of earlier runs included.

        Raises:
            Interrupted: If the user asked to stop; what was finished is stored.
        """
        config, started = self.config, time.monotonic()
        stored = _by_batch(self.earlier)
        progress = _Progress(
            {record.architecture.digest: record for record in self.earlier if record.evaluated}
        )
        proposer = self.create_proposer()
        records: list[TrialRecord] = []
        number = fruitless = 0
        while len(progress.evaluated) < config.trials and fruitless < _FRUITLESS_BATCHES:
            if config.seconds is not None and time.monotonic() - started > config.seconds:
                break
            before = len(progress.evaluated)
            finished = stored.get(number, {})
            if len(finished) == self._size_of_batch(number):
                batch = self._replay_batch(proposer, finished)
            else:
                batch = self._run_batch(proposer, number, finished, progress, on_result)
            records.extend(batch)
            if config.racing is not None:
                progress.front = pareto_records([*progress.front, *batch], config.goal)
            fruitless = fruitless + 1 if len(progress.evaluated) == before and not finished else 0
            number += 1
        # Batches of an earlier, longer run lie beyond those of this one and still count.
        beyond = (batch for later, batch in sorted(stored.items()) if later >= number)
        return records + [record for batch in beyond for _, record in sorted(batch.items())]

    def create_proposer(self) -> Proposer:
        """Return what proposes the batches of a run."""
        config = self.config
        return create_proposer(config.sampler, self.space.choices, config.batch_size, config.goal.directions)

    def describe_proposal(self, trial: FrozenTrial, batch: int, index: int) -> TrialRecord:
        """Return a proposed trial with its design and analytic scores, and set its constraints."""
        goal, architecture = self.config.goal, self.space.assemble(trial.params)
        scores = self.analytic_scores(architecture)
        for name, violation in goal.violations(scores).items():
            trial.set_constraint(name, violation)
        initial = self._unique_initial_designs.get(architecture.digest) if batch == 0 else None
        return TrialRecord(
            batch=batch,
            index_in_batch=index,
            params=trial.params,
            architecture=architecture,
            scores=scores,
            rejected=goal.format_violation(scores),
            origin="sampled" if initial is None else initial[0],
            sampler_attrs=trial.system_attrs,
        )

    @cached_property
    def _unique_initial_designs(self) -> dict[str, tuple[str, Architecture]]:
        """The designs proposed first, with their names, by digest."""
        return {design.digest: (name, design) for name, design in self.initial_designs}

    def _size_of_batch(self, number: int) -> int:
        """Return how many proposals a batch has."""
        size = self.config.batch_size
        return size if number else max(size, len(self._unique_initial_designs))

    def _replay_batch(self, proposer: Proposer, finished: Mapping[int, TrialRecord]) -> list[TrialRecord]:
        """Tell the proposer of a batch that an earlier run finished."""
        records = [finished[index] for index in range(len(finished))]
        proposer.resume(
            [record.params for record in records],
            [record.sampler_attrs for record in records],
            self._objectives(records),
        )
        return records

    def _run_batch(
        self,
        proposer: Proposer,
        number: int,
        stored: Mapping[int, TrialRecord],
        progress: _Progress,
        on_result: OnResult,
    ) -> list[TrialRecord]:
        """Propose a batch, finish what is not ``stored`` of it and tell the proposer.

        Evaluated designs are added to ``progress``.
        """
        trials = self._ask(proposer, number)
        proposals = [self.describe_proposal(trial, number, index) for index, trial in enumerate(trials)]
        finished = dict(stored)
        rejected = [proposal for proposal in proposals if proposal.rejected is not None]
        self._finish(_unfinished(rejected, finished), finished)
        waiting = _new_designs(_unfinished(proposals, finished), progress.evaluated)
        # The last batch may be cut short; a longer search proposes it again and finishes it.
        room = max(0, self.config.trials - len(progress.evaluated))
        for results in self._evaluate(waiting[:room], progress.front):
            self._finish(results, finished)
            for record in results:
                progress.evaluated[record.architecture.digest] = record
                on_result(record, len(progress.evaluated))
        if len(waiting) > room:
            return [finished[index] for index in sorted(finished)]
        repeats = [
            _answer(proposal, progress.evaluated[proposal.architecture.digest])
            for proposal in _unfinished(proposals, finished)
        ]
        self._finish(repeats, finished)
        records = [finished[index] for index in range(len(proposals))]
        proposer.tell(trials, self._objectives(records))
        return records

    def _ask(self, proposer: Proposer, number: int) -> list[FrozenTrial]:
        """Return the proposals of a batch, the first of which begins with the initial designs."""
        initial = [] if number else [design for _, design in self._unique_initial_designs.values()]
        seed = (self.config.seed * 100_003 + number) % 2**32
        return proposer.ask(
            seed, self._size_of_batch(number), [self.space.values(design) for design in initial]
        )

    def _evaluate(
        self, proposals: Sequence[TrialRecord], rivals: Sequence[TrialRecord]
    ) -> Iterator[list[TrialRecord]]:
        """Yield evaluated proposals, those together that are done together.

        ``rivals`` are of finished batches only, so what a design must reach does not depend on what runs beside.
        """
        if not proposals:
            return
        required = [0.0] * len(proposals)
        if self.config.racing is not None:
            scores = [rival.scores for rival in rivals]
            required = required_top1([proposal.scores for proposal in proposals], scores, self.config.goal)
        for done in self.evaluate([proposal.architecture for proposal in proposals], required):
            yield [_with_scores(proposals[index], scores) for index, scores in done.items()]

    def _finish(self, records: Sequence[TrialRecord], finished: dict[int, TrialRecord]) -> None:
        """Store finished trials of a batch and add them to ``finished``."""
        self.store.add(list(records))
        finished.update((record.index_in_batch, record) for record in records)

    def _objectives(self, records: Sequence[TrialRecord]) -> list[list[float] | None]:
        """Return what a sampler learns of finished trials: their objectives; None of a rejected one."""
        goal = self.config.goal
        return [None if record.rejected is not None else goal.values(record.scores) for record in records]


def analytic_costs(architecture: Architecture) -> dict[str, float]:
    """Return ``macs``, ``params`` and ``activation_bytes`` of an architecture."""
    known = costs(architecture)
    return {"macs": known.macs, "params": known.params, "activation_bytes": known.activation_bytes}


def pareto_records(records: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Return the trials of the Pareto front, best in the first objective first."""
    measured = [record for record in records if record.measured]
    values = [goal.values(record.scores) for record in measured]
    return [measured[index] for index in front(values, goal.directions)]


def _by_batch(records: Sequence[TrialRecord]) -> dict[int, dict[int, TrialRecord]]:
    """Return trials by batch and by their index there."""
    batches: dict[int, dict[int, TrialRecord]] = {}
    for record in records:
        batches.setdefault(record.batch, {})[record.index_in_batch] = record
    return batches


def _unfinished(proposals: Sequence[TrialRecord], finished: Mapping[int, TrialRecord]) -> list[TrialRecord]:
    """Return the proposals of a batch that are not among its ``finished`` trials, which are given by index."""
    return [proposal for proposal in proposals if proposal.index_in_batch not in finished]


def _new_designs(proposals: Sequence[TrialRecord], evaluated: Mapping[str, TrialRecord]) -> list[TrialRecord]:
    """Return the first proposal of each design that has not been evaluated."""
    new: dict[str, TrialRecord] = {}
    for proposal in proposals:
        if proposal.architecture.digest not in evaluated:
            new.setdefault(proposal.architecture.digest, proposal)
    return list(new.values())


def _with_scores(proposal: TrialRecord, found: Mapping[str, float]) -> TrialRecord:
    """Return a proposal with the scores of its evaluation."""
    scores = {**proposal.scores, **found}
    stopped, images, correct = (_pop_count(scores, name) for name in ("stopped_after", "images", "correct"))
    return replace(proposal, scores=scores, stopped_after=stopped, images=images, correct=correct)


def _pop_count(scores: dict[str, float], name: str) -> int | None:
    value = scores.pop(name, None)
    return None if value is None else int(value)


def _answer(proposal: TrialRecord, earlier: TrialRecord) -> TrialRecord:
    """Return a proposal answered from an earlier trial of its design."""
    return replace(
        proposal,
        scores=earlier.scores,
        repeat=True,
        stopped_after=earlier.stopped_after,
        images=earlier.images,
    )
