"""Open batches that one driver evaluates, or several of one study together.

Who searches one study with one seed proposes the same batches, since a batch depends on finished ones alone. So
drivers need to tell each other nothing but who evaluates what, and each closes a batch when all of it is stored. One
that searches by itself claims a batch at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from nas.runtime import interrupt
from nas.search.batches import OpenBatch
from nas.search.lease import Lease
from nas.search.trial_store import Store, TrialRecord

_POLL_SECONDS = 0.5  # between two looks at what others have finished, or have left

#: What is to be evaluated, and the ``top1`` that racing requires of it.
Proposal = tuple[TrialRecord, float]
#: Returns further proposals to evaluate, or none where there are none now.
More = Callable[[], list[Proposal]]
#: Evaluates proposals, and those that it is given while it does, and yields those together that are done together.
Evaluate = Callable[[Sequence[Proposal], More], Iterator[list[TrialRecord]]]


@dataclass
class Claims:
    """What of open batches is evaluated here.

    Args:
        lease: The right of this driver; None where there can be no other.
        opened: The open batches, oldest first; a list that changes.
    """

    lease: Lease | None
    opened: Sequence[OpenBatch]
    _asked: float = field(default=-_POLL_SECONDS, init=False)  # when nothing was free the last time

    def take(self) -> list[Proposal]:
        """Return proposals of the oldest batch that has any which nobody evaluates; they are this driver's now."""
        if time.monotonic() - self._asked < _POLL_SECONDS:
            return []
        refused = False
        for batch in self.opened:
            free = sorted(batch.left.keys() - batch.claimed)
            mine = free if self.lease is None or not free else self.lease.claim(batch.number, free)
            if mine:
                batch.claimed.update(mine)
                return [(batch.left[index], batch.required.get(index, 0.0)) for index in mine]
            refused = refused or bool(free)
        if refused:  # by drivers that may give something back by dying; others ask again at once
            self._asked = time.monotonic()
        return []


def evaluate_open(
    store: Store, opened: Sequence[OpenBatch], evaluate: Evaluate
) -> Iterator[list[TrialRecord]]:
    """Yield the proposals of open batches as they are finished, here or by another driver, until none is left.

    Args:
        store: Where all drivers keep their trials.
        opened: The open batches, oldest first; who iterates closes those of which nothing is left, and opens others.
        evaluate: Evaluates proposals here.

    Raises:
        StudyError: If this driver has lost its lease.
        Interrupted: If the user asked to stop.
    """
    claims = Claims(store.lease, opened)
    while any(batch.left for batch in opened):
        if mine := claims.take():
            yield from evaluate(mine, claims.take)
            continue
        assert store.lease is not None, "what is evaluated here is yielded"
        if done := _finished_elsewhere(store, opened):
            yield done
        else:
            _pause(store.lease)


def _finished_elsewhere(store: Store, opened: Sequence[OpenBatch]) -> list[TrialRecord]:
    """Return what other drivers have finished of the first open batch of which anything is left."""
    batch = next(batch for batch in opened if batch.left)
    stored = store.read_batch(batch.number)
    return [stored[index] for index in sorted(batch.left.keys() & stored.keys())]


def _pause(lease: Lease) -> None:
    interrupt.check()
    lease.require()
    time.sleep(_POLL_SECONDS)
