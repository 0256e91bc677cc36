"""Which trials of a study are stored: the rows of `TRIAL_KEYS`.

Optuna's tables allow the same trial twice, which happens where a connection breaks in the middle of a commit and the
trial is stored again, or where two processes search one study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, delete, select

from nas.search.own_tables import TRIAL_KEYS
from nas.search.ownership import TRIAL_ATTR

#: The attribute of a trial with the digest of its design.
DIGEST_ATTR = "digest"


@dataclass(frozen=True)
class TrialKey:
    """What tells a trial from all others of its study.

    Args:
        batch: Number of its batch.
        place: Its index there.
        digest: The design that it evaluated; None where it was rejected or answered from an earlier trial.
    """

    batch: int
    place: int
    digest: str | None

    @property
    def trial(self) -> tuple[int, int]:
        """Batch and index."""
        return self.batch, self.place


def key_of(trial: FrozenTrial) -> TrialKey:
    """Return the key of a finished trial."""
    return to_key(trial.state, trial.user_attrs, trial.system_attrs)


def to_key(state: TrialState, user_attrs: Mapping[str, Any], system_attrs: Mapping[str, Any]) -> TrialKey:
    """Return the key of a trial that ended in this state and has these attributes."""
    ours = system_attrs[TRIAL_ATTR]
    evaluated = state is not TrialState.PRUNED and not ours["repeat"]
    return TrialKey(int(ours["batch"]), int(ours["place"]), user_attrs[DIGEST_ATTR] if evaluated else None)


def find_stored(connection: Connection, study_id: int, keys: Sequence[TrialKey]) -> set[tuple[int, int]]:
    """Return which of some trials are stored already, by batch and index."""
    table = TRIAL_KEYS.c
    batches = sorted({key.batch for key in keys})
    query = select(table.batch, table.place).where(table.study_id == study_id, table.batch.in_(batches))
    return {(batch, place) for batch, place in connection.execute(query)} & {key.trial for key in keys}


def count_stored(connection: Connection, study_id: int) -> int:
    """Return how many trials of a study have a row."""
    query = select(sqlalchemy.func.count()).select_from(TRIAL_KEYS).where(TRIAL_KEYS.c.study_id == study_id)
    return int(connection.execute(query).scalar_one())


def find_trial_ids(connection: Connection, study_id: int, batch: int) -> list[int]:
    """Return the ids of a batch's trials that are stored."""
    table = TRIAL_KEYS.c
    query = select(table.trial_id).where(table.study_id == study_id, table.batch == batch)
    return [int(number) for (number,) in connection.execute(query)]


def add_keys(connection: Connection, study_id: int, keys: Mapping[int, TrialKey]) -> None:
    """Add the rows of trials, which are given by id.

    Raises:
        sqlalchemy.exc.IntegrityError: If one of the trials is stored, or one of the designs was evaluated.
    """
    rows = [{"study_id": study_id, "trial_id": number, **asdict(key)} for number, key in keys.items()]
    if rows:
        connection.execute(TRIAL_KEYS.insert(), rows)


def replace_keys(connection: Connection, study_id: int, keys: Mapping[int, TrialKey]) -> None:
    """Put the rows of a study's trials in the place of those that are there.

    Earlier versions stored trials without rows, perhaps one twice; a study that was deleted leaves rows behind, whose
    number another one may get.
    """
    connection.execute(delete(TRIAL_KEYS).where(TRIAL_KEYS.c.study_id == study_id))
    first: dict[int, TrialKey] = {}
    trials: set[tuple[int, int]] = set()
    digests: set[str] = set()
    for number, key in keys.items():
        if key.trial in trials:
            continue
        first[number] = replace(key, digest=None) if key.digest in digests else key
        trials.add(key.trial)
        digests.update({key.digest} if key.digest else ())
    add_keys(connection, study_id, first)
