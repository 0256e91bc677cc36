"""The processes that search a study now, and what each of them evaluates: the rows of `DRIVERS` and `CLAIMS`.

All functions run in a transaction in which the study is locked (`lock_study`), but for `beat`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from nas.search.own_tables import CLAIMS, DRIVERS, TRIAL_KEYS, read_clock


@dataclass(frozen=True)
class Driver:
    """A process that searches a study.

    Args:
        token: What tells it from all others.
        about: Who it is and where.
        silence: Seconds since it last said that it is there.
    """

    token: str
    about: Mapping[str, Any]
    silence: float


def list_drivers(connection: Connection, study_id: int) -> list[Driver]:
    """Return the drivers of a study, in the order in which they came."""
    now, table = read_clock(connection), DRIVERS.c
    rows = connection.execute(select(table.token, table.about, table.seen).where(table.study_id == study_id))
    found = [Driver(token, json.loads(about), now - seen) for token, about, seen in rows]
    return sorted(found, key=lambda driver: str(driver.about.get("since", "")))


def add_driver(connection: Connection, study_id: int, token: str, about: Mapping[str, Any]) -> None:
    """Add a driver."""
    row = {
        "study_id": study_id,
        "token": token,
        "about": json.dumps(dict(about)),
        "seen": read_clock(connection),
    }
    connection.execute(DRIVERS.insert().values(**row))


def remove_driver(connection: Connection, study_id: int, token: str) -> None:
    """Remove a driver, and give back what it claims."""
    for table in (CLAIMS, DRIVERS):
        connection.execute(delete(table).where(table.c.study_id == study_id, table.c.token == token))


def is_driver(connection: Connection, study_id: int, token: str) -> bool:
    """Return whether a driver was not removed."""
    table = DRIVERS.c
    return (
        connection.execute(
            select(table.token).where(table.study_id == study_id, table.token == token)
        ).first()
        is not None
    )


def beat(connection: Connection, study_id: int, token: str) -> bool:
    """Say that a driver is there; return whether it was not removed."""
    own = DRIVERS.c.study_id == study_id, DRIVERS.c.token == token
    connection.execute(update(DRIVERS).where(*own).values(seen=read_clock(connection)))
    return is_driver(connection, study_id, token)


def claim(
    connection: Connection,
    study_id: int,
    token: str,
    batch: int,
    places: Sequence[int],
    count: int | None = None,
) -> list[int]:
    """Claim the first ``count`` of some places of a batch that nobody has claimed or stored; return them.

    Args:
        connection: A transaction in which the study is locked.
        study_id: The study.
        token: The driver.
        batch: Number of the batch.
        places: Indices in it.
        count: How many at most; None for an even share among all drivers, half of what is free where there are more.
    """
    taken: set[int] = set()
    for table in (CLAIMS, TRIAL_KEYS):
        own = table.c.study_id == study_id, table.c.batch == batch
        taken.update(place for (place,) in connection.execute(select(table.c.place).where(*own)))
    free = [place for place in places if place not in taken]
    drivers = len(list_drivers(connection, study_id))
    if count is None:
        count = len(free) if drivers < 2 else max(1, len(free) // (2 * drivers))
    mine = free[:count]
    if mine:
        connection.execute(
            CLAIMS.insert(),
            [{"study_id": study_id, "batch": batch, "place": place, "token": token} for place in mine],
        )
    return mine
