"""What the batches of a search have shown so far."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.search.evaluations import FailureCount
from nas.search.trial_store import TrialRecord


@dataclass
class Progress:
    """What the batches so far have shown.

    Args:
        evaluated: Trials of evaluated designs, by digest.
        failed: Trials of designs that could not be evaluated, by digest.
        known: Digests of all designs of the batches before.
        front: The Pareto front of the finished batches; followed where designs race against it.
        failures: Counts designs that fail in a row.
    """

    evaluated: dict[str, TrialRecord]
    failed: dict[str, TrialRecord]
    known: set[str] = field(default_factory=set)
    front: list[TrialRecord] = field(default_factory=list)
    failures: FailureCount = field(default_factory=FailureCount)

    @classmethod
    def after(cls, earlier: Sequence[TrialRecord]) -> Progress:
        """Return what earlier runs have shown before their batches are gone through."""
        failed = (record for record in earlier if record.failed is not None)
        return cls(
            {record.architecture.digest: record for record in earlier if record.evaluated},
            {record.architecture.digest: record for record in failed},
        )

    @property
    def settled(self) -> Mapping[str, TrialRecord]:
        """Trials of designs that need no evaluation any more, by digest."""
        return ChainMap(self.evaluated, self.failed)  # what is evaluated in the end goes before a failure
