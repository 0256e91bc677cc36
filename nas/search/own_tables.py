"""Tables of ours beside Optuna's in a study's database, and the lock that orders what is written of a study.

`TRIAL_KEYS` has a row for every trial, with keys that no two writers can both have: a trial is one place of one batch,
and a design is evaluated once. `DRIVERS` has a row for every process that searches a study now, and `CLAIMS` one for
every design that one of them evaluates. Nothing here is a foreign key: Optuna would have to know of it to delete a
study in SQLite.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
)

_METADATA = MetaData()

TRIAL_KEYS = Table(
    "nas_trial_keys",
    _METADATA,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("trial_id", Integer, nullable=False),
    Column("digest", String(64), nullable=True),  # any number of rows may have none
    UniqueConstraint("study_id", "digest", name="nas_one_evaluation_of_a_design"),
)
DRIVERS = Table(
    "nas_drivers",
    _METADATA,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("token", String(32), primary_key=True),
    Column("about", Text, nullable=False),  # JSON: who it is and where
    Column("seen", Float(53), nullable=False),  # seconds since 1970 by the clock of the database
)
CLAIMS = Table(
    "nas_claims",
    _METADATA,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
)

#: A table of Optuna's, as far as it is read here.
_STUDIES = sqlalchemy.table("studies", sqlalchemy.column("study_id", Integer))
#: The present in seconds since 1970, so that the clocks of drivers need not agree.
_CLOCKS = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
    "mariadb": "SELECT unix_timestamp(sysdate(6))",
}


def make_tables(engine: sqlalchemy.Engine) -> None:
    """Make the tables where there are none."""
    _METADATA.create_all(engine)


def lock_study(connection: Connection, study_id: int) -> None:
    """Begin a transaction that no other writer of this study disturbs, until it ends.

    Raises:
        KeyError: If there is no such study.
    """
    if connection.dialect.name == "sqlite":
        # Its driver would begin after the first rows are read.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    study = _STUDIES.c.study_id
    if not connection.execute(select(study).where(study == study_id).with_for_update()).first():
        raise KeyError(f"there is no study {study_id}")


def read_clock(connection: Connection) -> float:
    """Return the present by the clock of the database, in seconds since 1970."""
    return float(connection.exec_driver_sql(_CLOCKS[connection.dialect.name]).scalar_one())
