"""A batch that several drivers of a study evaluate together.

Who searches one study with one seed proposes the same batches, since a batch depends on the finished ones alone. So
drivers need to tell each other nothing but who evaluates what, and each goes on to the next batch when all of this one
is stored. One that searches by itself claims a batch at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from nas.runtime import interrupt
from nas.search.lease import Lease
from nas.search.trial_store import Store, TrialRecord

_POLL_SECONDS = 0.5  # between two looks at what others have finished


def evaluate_shared(
    store: Store,
    lease: Lease,
    proposals: Sequence[TrialRecord],
    evaluate: Callable[[Sequence[TrialRecord]], Iterator[list[TrialRecord]]],
) -> Iterator[list[TrialRecord]]:
    """Yield the proposals of a batch as they are finished, here or by another driver.

    Args:
        store: Where all drivers keep their trials.
        lease: The right of this one.
        proposals: What is to be evaluated, all of one batch.
        evaluate: Evaluates some of them here.

    Raises:
        StudyError: If this driver has lost its lease.
        Interrupted: If the user asked to stop.
    """
    left = {proposal.index_in_batch: proposal for proposal in proposals}
    while left:
        batch = next(iter(left.values())).batch
        if mine := lease.claim(batch, sorted(left)):
            yield from evaluate([left.pop(index) for index in mine])
        if not left:
            return
        stored = store.read_batch(batch)
        if done := [stored[index] for index in sorted(left.keys() & stored.keys())]:
            for record in done:
                del left[record.index_in_batch]
            yield done
        elif not mine:
            _pause(lease)


def _pause(lease: Lease) -> None:
    interrupt.check()
    lease.require()
    time.sleep(_POLL_SECONDS)
