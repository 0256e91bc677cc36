"""The search itself: propose a batch, revise, reject and deduplicate it, evaluate the rest, tell the sampler.

Proposals are made batch by batch. A batch depends on the seed, its number and the finished batches
before it, never on the number of workers or on which of them was first; so one seed gives one search,
and a search that was killed in a batch proposes that batch again and finds what was finished of it in
the store.

A space that holds no more designs (within the limits) than the search may evaluate is not sampled but listed:
each design is evaluated once, in an order that the seed draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from optuna.trial import FrozenTrial

from nas.runtime.console import log
from nas.search.analytic import AnalyticScores
from nas.search.batches import OpenBatch, answer_from, find_new_designs, group_by_batch, with_result
from nas.search.constraint_attrs import to_constraint_attrs
from nas.search.evaluations import Evaluations, Failure
from nas.search.limits import Limits
from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.progress import Progress
from nas.search.proposers import Proposer, do_nothing
from nas.search.racing import required_top1
from nas.search.redraw import Redrawer
from nas.search.samplers import LISTED, ListProposer, create_proposer
from nas.search.sharing import More, Proposal, evaluate_open
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.space import Space

_FRUITLESS_BATCHES = 25  # batches in a row without a new design after which the space counts as searched

#: Called with each evaluated trial and how many designs were evaluated so far.
OnResult = Callable[[TrialRecord, int], None]

#: Scores of a search that asks for no latencies.
analytic_costs = AnalyticScores()


@dataclass(frozen=True)
class SearchConfig:
    """How a search proposes.

    Args:
        goal: Objectives and constraints.
        sampler: One of `SAMPLERS`.
        batch_size: Proposals made at once; NSGA-II's population.
        trials: Designs to evaluate.
        seconds: Time to stop proposing after; None for no limit.
        seed: Seed of the proposals.
        racing: Largest probability of stopping a design wrongly; None stops none.
        ahead: Batches that are proposed before the one before them is finished, and so without knowing it.
    """

    goal: Goal
    sampler: str = "nsga2"
    batch_size: int = 32
    trials: int = 256
    seconds: float | None = None
    seed: int = 0
    racing: float | None = None
    ahead: int = 0


@dataclass
class Search:
    """A search over one space into one store.

    Args:
        space: What is searched.
        store: Where finished trials are kept.
        config: How to propose.
        evaluate: Evaluates designs.
        analytic_scores: Returns scores known without a forward pass (costs, predicted latency).
        initial_designs: Designs proposed first, by name; under limits those that `Limits` makes of them.
        meanwhile: Called again and again while designs are proposed, which may take long enough for workers to wait.
    """

    space: Space
    store: Store
    config: SearchConfig
    evaluate: Evaluations
    analytic_scores: AnalyticScores
    initial_designs: list[tuple[str, Architecture]] = field(default_factory=list)
    meanwhile: Callable[[], None] = field(default=do_nothing, kw_only=True)

    @cached_property
    def earlier(self) -> list[TrialRecord]:
        """The trials of earlier runs, read when they are first asked for."""
        return self.store.records()

    @cached_property
    def limits(self) -> Limits:
        """What the limits leave of the space."""
        return Limits(self.space, self.config.goal.beforehand, self.analytic_scores)

    @cached_property
    def listed(self) -> list[Architecture] | None:
        """All designs that keep the limits, where the search may evaluate so many."""
        return self.limits.list_designs(self.config.trials)

    def run(self, on_result: OnResult) -> list[TrialRecord]:
        """Search until the configured trials or time are used up, or the space is.

        Args:
            on_result: Called with ``(trial, designs evaluated so far)`` for every evaluated trial.

        Returns:
            All trials in the order of their proposals, those of earlier runs included.

        Raises:
            Interrupted: If the user asked to stop; what was finished is stored.
            WorkError: If one design after the other cannot be evaluated.
        """
        config, started = self.config, time.monotonic()
        stored, progress = group_by_batch(self.earlier), Progress.after(self.earlier)
        proposer, number = self._start(stored)
        closed = [stored[batch][index] for batch in range(number) for index in sorted(stored.get(batch, {}))]
        opened: list[OpenBatch] = []
        fruitless, ended = 0, False

        def open_batches() -> None:
            """Open as many batches as may be; a batch is opened right after the one that it may know of is closed."""
            nonlocal number, ended
            while not ended and len(opened) <= config.ahead and self._room(progress, opened):
                late = config.seconds is not None and time.monotonic() - started > config.seconds
                batch = None if late else self._open(proposer, number, stored, progress, opened)
                if batch is None:
                    ended = True
                else:
                    opened.append(batch)
                    number += 1

        def close_batches() -> None:
            """Close the batches that are finished, oldest first, and open others."""
            nonlocal fruitless, ended
            while opened and not opened[0].left:
                batch = opened[0]
                if batch.held and (room := self._room(progress, opened)):
                    self._let_in(batch, room)  # designs that failed have left room
                    continue
                closed.extend(self._close(proposer, opened.pop(0), progress))
                fruitless = 0 if batch.is_new or batch.taken_over else fruitless + 1
                if fruitless == _FRUITLESS_BATCHES and not ended:
                    log.say(
                        f"the search ends: {fruitless} batches in a row had no new design within the limits"
                    )
                    ended = True
                open_batches()

        open_batches()
        close_batches()
        for results in evaluate_open(self.store, opened, self._evaluate):
            for number_of, records in group_by_batch(results).items():
                batch = next(one for one in opened if one.number == number_of)
                batch.add(list(records.values()))
            self.store.add(results)
            for record in results:
                self._count(record, progress, on_result)
            close_batches()
        # Batches of an earlier, longer run lie beyond those of this one and still count.
        beyond = (batch for later, batch in sorted(stored.items()) if later >= number)
        return closed + [record for batch in beyond for _, record in sorted(batch.items())]

    def _start(self, stored: Mapping[int, Mapping[int, TrialRecord]]) -> tuple[Proposer, int]:
        """Return what proposes, and the number of its first batch."""
        if self.listed is None:
            return self.create_proposer(), 0
        # A search of fewer trials may have sampled some designs before; the others are listed after them.
        sampled = [record for record in self.earlier if LISTED not in record.sampler_attrs]
        settled = {
            record.architecture.digest for record in sampled if record.evaluated or record.failed is not None
        }
        order = [design for _, design in self._unique_initial_designs.values()]
        first = {design.digest for design in order}
        rest = [design for design in self.listed if design.digest not in first]
        Random(self.config.seed).shuffle(rest)
        params = [self.space.values(design) for design in order + rest if design.digest not in settled]
        number = max((record.batch + 1 for record in sampled), default=0)
        return ListProposer(self.space.choices, self.config.goal.directions, params), number

    def create_proposer(self) -> Proposer:
        """Return what proposes the batches of a run."""
        proposer = create_proposer(self.config.sampler, self.limits, self.config.batch_size)
        proposer.meanwhile = self.meanwhile
        return proposer

    def describe_proposal(self, trial: FrozenTrial, batch: int, index: int) -> TrialRecord:
        """Return a proposed trial with its design and analytic scores, and set its constraints."""
        self.meanwhile()
        goal, architecture = self.config.goal, self.space.assemble(trial.params)
        scores = self.analytic_scores(architecture)
        for name, violation in goal.violations(scores).items():
            trial.set_constraint(name, violation)
        first = batch == 0 or LISTED in trial.system_attrs
        initial = self._unique_initial_designs.get(architecture.digest) if first else None
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
        unique: dict[str, tuple[str, Architecture]] = {}
        for name, design in self.limits.initial_designs(self.initial_designs):
            unique.setdefault(design.digest, (name, design))
        return unique

    def _size_of_batch(self, number: int) -> int:
        """Return how many proposals a batch has; of the first two thirds at most are designs to begin with."""
        size = self.config.batch_size
        return size if number else max(size, math.ceil(1.5 * len(self._unique_initial_designs)))

    def _is_whole(self, number: int, stored: Mapping[int, Mapping[int, TrialRecord]]) -> bool:
        """Return whether all of a batch is stored; an earlier version may have begun with fewer designs."""
        closed = number + 1 + self.config.ahead in stored  # which was opened once this one was closed
        return closed or len(stored.get(number, {})) == self._size_of_batch(number)

    def _room(self, progress: Progress, opened: Sequence[OpenBatch]) -> int:
        """Return how many designs may still be evaluated, those of open batches not counted."""
        return max(0, self.config.trials - len(progress.evaluated) - sum(len(batch.left) for batch in opened))

    def _open(
        self,
        proposer: Proposer,
        number: int,
        stored: Mapping[int, Mapping[int, TrialRecord]],
        progress: Progress,
        opened: Sequence[OpenBatch],
    ) -> OpenBatch | None:
        """Return the next batch with what is left of it to evaluate; None where nothing more is proposed."""
        finished = dict(stored.get(number, {}))
        if self.listed is None and self._is_whole(number, stored):
            batch = self._readmit(proposer, number, finished)
        else:
            trials = self._ask(proposer, number, finished, progress)
            if not trials:
                return None
            proposals = [self.describe_proposal(trial, number, index) for index, trial in enumerate(trials)]
            batch = OpenBatch(number, trials, proposals, finished)
            self._finish(batch, [one for one in batch.unfinished if one.rejected is not None])
            pending = {one.architecture.digest for other in opened for one in other.left.values()}
            batch.held = find_new_designs(batch.unfinished, progress.settled, pending)
            batch.required = self._required_top1(batch.held, progress.front)
            self._let_in(batch, self._room(progress, opened))
        progress.known.update(record.architecture.digest for record in batch.proposals)
        return batch

    def _readmit(self, proposer: Proposer, number: int, finished: dict[int, TrialRecord]) -> OpenBatch:
        """Return a batch that an earlier run finished."""
        records = [finished[index] for index in range(len(finished))]
        violations = [self.config.goal.violations(record.scores) for record in records]
        trials = proposer.readmit(
            [record.params for record in records],
            # Earlier versions noted constraints in their scores' own units.
            [
                {**record.sampler_attrs, **to_constraint_attrs(shares)}
                for record, shares in zip(records, violations, strict=True)
            ],
        )
        return OpenBatch(number, trials, records, finished)

    def _let_in(self, batch: OpenBatch, room: int) -> None:
        """Let so many of a batch's designs be evaluated.

        The last batch may be cut short; a longer search proposes it again and finishes it.
        """
        chosen = self._fit(batch.held, room, batch.finished)
        batch.left.update((one.index_in_batch, one) for one in chosen)
        batch.held = [one for one in batch.held if one.index_in_batch not in batch.left]

    def _close(self, proposer: Proposer, batch: OpenBatch, progress: Progress) -> list[TrialRecord]:
        """Return the trials of a batch of which all is evaluated, and tell the proposer of it if it is whole."""
        if not batch.held:
            settled = progress.settled
            repeats = [answer_from(one, settled[one.architecture.digest]) for one in batch.unfinished]
            self._finish(batch, repeats)
            self._set_measured_constraints(batch)
            proposer.tell(batch.trials, self._objectives(batch.in_order()))
        records = batch.in_order()
        if self.config.racing is not None:
            progress.front = pareto_records([*progress.front, *records], self.config.goal)
        return records

    def _set_measured_constraints(self, batch: OpenBatch) -> None:
        """Say on the trials of a batch how far they are beyond limits that nothing was known of beforehand."""
        for trial, record in zip(batch.trials, batch.in_order(), strict=True):
            known = trial.constraints
            for name, violation in self.config.goal.violations(record.scores).items():
                if name not in known:
                    trial.set_constraint(name, violation)

    def _fit(
        self, waiting: Sequence[TrialRecord], room: int, finished: Mapping[int, TrialRecord]
    ) -> Sequence[TrialRecord]:
        """Return which proposals of a batch are evaluated where there is ``room`` for so many.

        Where the search ends within its first batch, designs to begin with get a third of its evaluations, the first of
        them first, and more only once all others are evaluated.
        """
        if len(waiting) <= room:
            return waiting
        begun = sum(record.evaluated and record.origin != "sampled" for record in finished.values())
        left = max(0, max(1, self.config.trials // 3) - begun)
        first = [proposal for proposal in waiting if proposal.origin != "sampled"]
        others = [proposal for proposal in waiting if proposal.origin == "sampled"]
        return sorted(
            [*first[:left], *others, *first[left:]][:room], key=lambda proposal: proposal.index_in_batch
        )

    def _count(self, record: TrialRecord, progress: Progress, on_result: OnResult) -> None:
        """Add a trial that was just finished to what is known."""
        digest = record.architecture.digest
        if record.failed is not None:
            progress.failed[digest] = record
            log.say(f"design {digest} could not be evaluated: {record.failed}")
            progress.failures.add(Failure(record.failed))
            return
        progress.evaluated[digest] = record
        progress.failures.add(None)
        on_result(record, len(progress.evaluated))

    def _ask(
        self, proposer: Proposer, number: int, stored: Mapping[int, TrialRecord], progress: Progress
    ) -> list[FrozenTrial]:
        """Return the proposals of a batch, the first of which begins with the initial designs."""
        seed = (self.config.seed * 100_003 + number) % 2**32
        if self.listed is not None:
            return proposer.ask(seed, self.config.batch_size)
        initial = [] if number else [design for _, design in self._unique_initial_designs.values()]
        trials = proposer.ask(
            seed, self._size_of_batch(number), [self.space.values(design) for design in initial]
        )
        Redrawer(self.limits).revise(trials, progress.known, Random(seed))
        for index, record in stored.items():
            # What is stored of the batch was proposed so, unless an earlier version did not revise it.
            trials[index].params = dict(record.params)
        return trials

    def _evaluate(self, proposals: Sequence[Proposal], more: More) -> Iterator[list[TrialRecord]]:
        """Yield proposals that are evaluated here, those together that are done together."""
        given: list[TrialRecord] = []

        def add(new: Sequence[Proposal]) -> tuple[list[Architecture], list[float]]:
            given.extend(record for record, _ in new)
            return [record.architecture for record, _ in new], [required for _, required in new]

        for done in self.evaluate(*add(proposals), lambda: add(more())):
            yield [with_result(given[index], found, self.config.goal) for index, found in done.items()]

    def _required_top1(
        self, proposals: Sequence[TrialRecord], rivals: Sequence[TrialRecord]
    ) -> dict[int, float]:
        """Return the ``top1`` that racing requires of proposals of a batch, by index.

        ``rivals`` are of finished batches only, so what a design must reach does not depend on what runs beside.
        """
        if self.config.racing is None:
            return {}
        scores = [rival.scores for rival in rivals]
        required = required_top1([proposal.scores for proposal in proposals], scores, self.config.goal)
        return {one.index_in_batch: least for one, least in zip(proposals, required, strict=True)}

    def _finish(self, batch: OpenBatch, records: Sequence[TrialRecord]) -> None:
        """Store trials of a batch that are finished without an evaluation."""
        self.store.add(list(records))
        batch.add(records)

    def _objectives(self, records: Sequence[TrialRecord]) -> list[list[float] | None]:
        """Return what a sampler learns of finished trials: their objectives; None of one that has none."""
        goal = self.config.goal
        return [goal.values(record.scores) if record.complete else None for record in records]


def pareto_records(records: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Return the trials of the Pareto front, best in the first objective first."""
    eligible = [record for record in records if record.eligible]
    values = [goal.values(record.scores) for record in eligible]
    return [eligible[index] for index in front(values, goal.directions)]
