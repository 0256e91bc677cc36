"""A batch of proposals from being proposed to the end of the last of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from optuna.trial import FrozenTrial

from nas.search.constraint_attrs import constraint_attrs_of, to_constraint_attrs
from nas.search.evaluations import Failure
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord


@dataclass
class OpenBatch:
    """A batch some of whose proposals are not finished.

    Args:
        number: Its number.
        trials: What the sampler knows of its proposals.
        proposals: Its proposals, in order.
        finished: Those that are finished, by their index in the batch; stored earlier where it is taken over.
    """

    number: int
    trials: list[FrozenTrial]
    proposals: list[TrialRecord]
    finished: dict[int, TrialRecord]
    left: dict[int, TrialRecord] = field(default_factory=dict)  # to be evaluated and not finished, by index
    held: list[TrialRecord] = field(default_factory=list)  # to be evaluated by a search of more trials
    required: dict[int, float] = field(
        default_factory=dict
    )  # the ``top1`` that racing asks of them, by index
    claimed: set[int] = field(default_factory=set)  # of those that are left: what is evaluated here

    def __post_init__(self) -> None:
        self.taken_over = bool(self.finished)
        self.is_new = False  # whether it has brought a design that was not evaluated before

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Note proposals that are finished."""
        for record in records:
            self.finished[record.index_in_batch] = record
            if self.left.pop(record.index_in_batch, None) is not None and record.evaluated:
                self.is_new = True

    @property
    def unfinished(self) -> list[TrialRecord]:
        """The proposals that are not finished, in order."""
        return [one for one in self.proposals if one.index_in_batch not in self.finished]

    def in_order(self) -> list[TrialRecord]:
        """Return what is finished, in the order of the proposals."""
        return [record for _, record in sorted(self.finished.items())]


def group_by_batch(records: Sequence[TrialRecord]) -> dict[int, dict[int, TrialRecord]]:
    """Return trials by batch and by their index there."""
    batches: dict[int, dict[int, TrialRecord]] = {}
    for record in records:
        batches.setdefault(record.batch, {})[record.index_in_batch] = record
    return batches


def find_new_designs(
    proposals: Sequence[TrialRecord], settled: Mapping[str, TrialRecord], pending: set[str]
) -> list[TrialRecord]:
    """Return the first proposal of each design that is neither settled nor ``pending``, which are digests."""
    new: dict[str, TrialRecord] = {}
    for proposal in proposals:
        digest = proposal.architecture.digest
        if digest not in settled and digest not in pending:
            new.setdefault(digest, proposal)
    return list(new.values())


def with_result(proposal: TrialRecord, found: Mapping[str, float] | Failure, goal: Goal) -> TrialRecord:
    """Return a proposal with the scores of its evaluation, or the reason why it has none.

    Args:
        proposal: A proposal that keeps the limits that are known beforehand.
        found: What its evaluation gave.
        goal: The search's, whose limits on what was measured are looked at now.
    """
    if isinstance(found, Failure):
        return replace(proposal, failed=found.reason)
    scores = {**proposal.scores, **found}
    stopped, images, correct = (_pop_count(scores, name) for name in ("stopped_after", "images", "correct"))
    return replace(
        proposal,
        scores=scores,
        rejected=goal.format_violation(scores),
        stopped_after=stopped,
        images=images,
        correct=correct,
        sampler_attrs={**proposal.sampler_attrs, **to_constraint_attrs(goal.violations(scores))},
    )


def _pop_count(scores: dict[str, float], name: str) -> int | None:
    value = scores.pop(name, None)
    return None if value is None else int(value)


def answer_from(proposal: TrialRecord, earlier: TrialRecord) -> TrialRecord:
    """Return a proposal answered from an earlier trial of its design."""
    return replace(
        proposal,
        scores=earlier.scores,
        rejected=earlier.rejected,
        repeat=True,
        stopped_after=earlier.stopped_after,
        images=earlier.images,
        failed=earlier.failed,
        sampler_attrs={**proposal.sampler_attrs, **constraint_attrs_of(earlier.sampler_attrs)},
    )
