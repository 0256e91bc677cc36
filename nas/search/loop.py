"""The search itself: propose a batch, reject and deduplicate, evaluate the rest, tell.

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
from nas.search.samplers import Proposer
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space

_IDLE_BATCHES = 25  # batches without a new design after which the space counts as searched


class Evaluations(Protocol):
    """Evaluates designs somewhere and yields ``{index: scores}`` of those that are done together."""

    def __call__(
        self, designs: list[Architecture], required_top1: list[float]
    ) -> Iterator[dict[int, dict[str, float]]]:
        """Evaluate ``designs``, each of which may be stopped once its ``top1`` is surely below its bar.

        Scores of a stopped one are of the images it saw, whose number they tell as ``stopped_after``.
        """


@dataclass(frozen=True)
class SearchConfig:
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
    plan: SearchConfig
    evaluate: Evaluations
    analytic_scores: Callable[[Architecture], dict[str, float]]
    starts: list[tuple[str, Architecture]] = field(default_factory=list)

    @cached_property
    def earlier(self) -> list[TrialRecord]:
        """The trials of earlier runs, read when they are first asked for."""
        return self.store.rows()

    def run(self, report: Callable[[TrialRecord, int], None]) -> list[TrialRecord]:
        """Search until the plan's trials or time are used up, or the space is.

        Args:
            report: Told ``(row, designs evaluated so far)`` of every finished trial.

        Returns:
            All rows in the order of their proposals, those of earlier runs included.

        Raises:
            Interrupted: If the user asked to stop; what was finished is stored.
        """
        deadline = None if self.plan.seconds is None else time.monotonic() + self.plan.seconds
        stored: dict[int, dict[int, TrialRecord]] = {}
        for row in self.earlier:
            stored.setdefault(row.batch, {})[row.index_in_batch] = row
        known = {
            row.architecture.digest: row for rows in stored.values() for row in rows.values() if row.evaluated
        }
        plan = self.plan
        proposer, number, idle = self._proposer(), 0, 0
        rows: list[TrialRecord] = []
        rivals: list[TrialRecord] = []  # the front of the finished batches
        while len(known) < plan.trials and idle < _IDLE_BATCHES:
            if deadline is not None and time.monotonic() > deadline:
                break
            before = len(known)
            found = stored.get(number, {})
            if len(found) == self._size(number):
                batch = [found[index_in_batch] for index_in_batch in range(len(found))]
                proposer.resume(
                    [row.params for row in batch], [row.sampler_attrs for row in batch], self._told(batch)
                )
            else:
                batch = self._batch(proposer, number, found, known, report, rivals)
            rows.extend(batch)
            if plan.racing is not None:
                rivals = pareto_rows([*rivals, *batch], plan.goal)
            idle = idle + 1 if len(known) == before and number not in stored else 0
            number += 1
        # Batches of an earlier, longer run lie beyond the plan of this one and still count.
        rows.extend(row for n in sorted(stored) if n >= number for _, row in sorted(stored[n].items()))
        return rows

    def _proposer(self) -> Proposer:
        plan = self.plan
        return Proposer(plan.sampler, self.space.choices, plan.batch_size, plan.goal.directions)

    @cached_property
    def _origins(self) -> dict[str, tuple[str, Architecture]]:
        """The designs proposed first, with their names, by digest."""
        return {start.digest: (name, start) for name, start in self.starts}

    def _size(self, number: int) -> int:
        """Return how many proposals batch ``number`` has."""
        return self.plan.batch_size if number else max(self.plan.batch_size, len(self._origins))

    def _told(self, rows: Sequence[TrialRecord]) -> list[list[float] | None]:
        """Return what a sampler is told of finished trials."""
        return [None if row.rejected is not None else self.plan.goal.values(row.scores) for row in rows]

    def _batch(
        self,
        proposer: Proposer,
        number: int,
        stored: Mapping[int, TrialRecord],
        known: dict[str, TrialRecord],
        report: Callable[[TrialRecord, int], None],
        rivals: Sequence[TrialRecord],
    ) -> list[TrialRecord]:
        """Propose batch ``number``, finish what is not stored of it and tell the proposer.

        ``known`` holds the evaluated designs by digest and is added to, ``rivals`` the front of the batches
        before.
        """
        plan = self.plan
        seed = (plan.seed * 100_003 + number) % 2**32
        starts = [] if number else [self.space.values(start) for _, start in self._origins.values()]
        trials = proposer.ask(seed, self._size(number), starts)
        proposals = [
            self._proposal(trial, number, index_in_batch) for index_in_batch, trial in enumerate(trials)
        ]
        rows: dict[int, TrialRecord] = dict(stored)
        first: dict[str, int] = {}  # a design proposed twice in one batch is evaluated once
        todo: list[int] = []
        for index_in_batch, row in enumerate(proposals):
            digest = row.architecture.digest
            if index_in_batch in rows:
                continue
            if row.rejected is not None:
                rows[index_in_batch] = row
            elif digest in known or digest in first:
                continue
            else:
                first[digest] = index_in_batch
                todo.append(index_in_batch)
        self.store.add([rows[index_in_batch] for index_in_batch in sorted(rows.keys() - stored.keys())])
        # The last batch may be cut short; a longer search proposes it again and finishes it.
        room = max(0, plan.trials - len(known))
        cut, todo = len(todo) > room, todo[:room]
        designs = [proposals[index_in_batch].architecture for index_in_batch in todo]
        reach = self._bars([proposals[index_in_batch] for index_in_batch in todo], rivals)
        for done in self.evaluate(designs, reach) if designs else ():
            finished = {todo[index]: _finished(proposals[todo[index]], s) for index, s in done.items()}
            self.store.add(list(finished.values()))
            for index_in_batch, row in finished.items():
                rows[index_in_batch] = known[row.architecture.digest] = row
                report(row, len(known))
        if cut:
            return [rows[index_in_batch] for index_in_batch in sorted(rows)]
        repeats = {
            index_in_batch: _repeated(proposal, known[proposal.architecture.digest])
            for index_in_batch, proposal in enumerate(proposals)
            if index_in_batch not in rows
        }
        self.store.add(list(repeats.values()))
        rows |= repeats
        ordered = [rows[index_in_batch] for index_in_batch in range(len(trials))]
        proposer.tell(trials, self._told(ordered))
        return ordered

    def _bars(self, proposals: Sequence[TrialRecord], rivals: Sequence[TrialRecord]) -> list[float]:
        """Return what the ``top1`` of each proposal must reach: that of finished batches alone, whatever runs."""
        if self.plan.racing is None:
            return [0.0] * len(proposals)
        known = [row.scores for row in rivals]
        return required_top1([row.scores for row in proposals], known, self.plan.goal)

    def _proposal(self, trial: FrozenTrial, number: int, index_in_batch: int) -> TrialRecord:
        architecture = self.space.assemble(trial.params)
        scores = self.analytic_scores(architecture)
        for name, limit in self.plan.goal.limits:
            trial.set_constraint(name, scores[name] - limit)
        started = self._origins.get(architecture.digest) if number == 0 else None
        return TrialRecord(
            batch=number,
            index_in_batch=index_in_batch,
            params=trial.params,
            architecture=architecture,
            scores=scores,
            rejected=self.plan.goal.excess(scores),
            origin="sampled" if started is None else started[0],
            sampler_attrs=trial.system_attrs,
        )


def analytic_costs(architecture: Architecture) -> dict[str, float]:
    """Return ``macs``, ``params`` and ``activation_bytes`` of an architecture."""
    known = costs(architecture)
    return {"macs": known.macs, "params": known.params, "activation_bytes": known.activation_bytes}


def pareto_rows(rows: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Return the rows of the Pareto front, best in the first objective first."""
    measured = [row for row in rows if row.measured]
    return [measured[i] for i in front([goal.values(row.scores) for row in measured], goal.directions)]


def _finished(proposal: TrialRecord, found: Mapping[str, float]) -> TrialRecord:
    """Return a proposal with the scores that an evaluation found."""
    scores = {**proposal.scores, **found}
    stopped = scores.pop("stopped_after", None)
    return replace(proposal, scores=scores, stopped_after=None if stopped is None else int(stopped))


def _repeated(proposal: TrialRecord, earlier: TrialRecord) -> TrialRecord:
    """Return a proposal answered from an earlier trial of its design."""
    return replace(proposal, scores=earlier.scores, repeat=True, stopped_after=earlier.stopped_after)
