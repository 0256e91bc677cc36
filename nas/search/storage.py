"""The database of a study: an SQLAlchemy URL, opened through Optuna's ``RDBStorage``."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from nas.runtime.error_text import first_line
from nas.runtime.files import require_writable
from nas.runtime.secrets import redact
from nas.search.database_errors import describe, is_passing
from nas.search.database_wait import insist, patience, watch_connections
from nas.search.objectives import Direction, directions_of
from nas.search.ownership import Owner, check_owner
from nas.search.sqlite_reading import connect_for_reading
from nas.search.storage_url import VARIABLE, clean, complete, sqlite_path
from search_spaces.errors import StudyError, WorkError

optuna.logging.set_verbosity(optuna.logging.WARNING)

_SQLITE_TIMEOUT = 60  # seconds that a writer waits for another one
_CONNECT_TIMEOUT = 10  # seconds for a server to answer
_METRIC_NAMES = "study:metric_names"  # the attribute in which Study.set_metric_names keeps them


def check_storage(
    url: str,
    name: str,
    objectives: tuple[str, ...],
    owner: Owner | None = None,
    directions: list[Direction] | None = None,
) -> None:
    """Check that a storage can be used and holds no other study of this name; write nothing.

    Raises:
        StudyError: If it cannot be opened, or its study of that name is another's or has other objectives.
    """
    if (path := sqlite_path(url)) is not None and not path.exists():
        require_writable(path.parent)
    elif (storage := open_storage_for_reading(url)) is not None:
        if owner is not None:
            check_owner(storage, url, name, owner)
        check_objectives(storage, url, name, objectives, directions)


def check_objectives(
    storage: optuna.storages.RDBStorage,
    url: str,
    name: str,
    objectives: tuple[str, ...],
    wanted: list[Direction] | None = None,
) -> None:
    """Check that a study, if there is one of this name, has these objectives.

    Their directions are those of the built-in scores where they are not given.

    Raises:
        StudyError: If it has others.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return
    directions = [direction.name.lower() for direction in storage.get_study_directions(study_id)]
    stored = list(storage.get_study_system_attrs(study_id).get(_METRIC_NAMES, directions))
    wanted = directions_of(objectives) if wanted is None else wanted
    if directions != wanted or stored not in (list(objectives), wanted):
        raise StudyError(
            f"study '{name}' in {url} has the objectives {', '.join(stored)}, "
            f"not {', '.join(objectives)}; repeat them with --objective, or choose another --study"
        )


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at ``url`` for writing; its file and tables are made where there are none.

    Its secrets are those that `clean` was given, or of ``NAS_STORAGE``; only here they are put in.

    Raises:
        StudyError: If it cannot be opened.
        WorkError: If it does not answer for long, or there is no room.
    """
    url = clean(url)
    if (path := sqlite_path(url)) is not None:
        _prepare_sqlite(path)
    with _explained(url):
        storage = insist(
            url,
            lambda: optuna.storages.RDBStorage(complete(url), engine_kwargs=_engine_arguments(url)),
            creates=True,
        )
    watch_connections(url, storage.engine)
    return storage


def open_storage_for_reading(url: str) -> optuna.storages.RDBStorage | None:
    """Open the storage at ``url`` such that nothing is written: no file, no table, no lock; None where none is.

    Raises:
        StudyError: If it cannot be opened.
    """
    url = clean(url)
    arguments = _engine_arguments(url)
    if (path := sqlite_path(url)) is not None:
        if not path.exists():
            return None
        arguments = {"creator": partial(connect_for_reading, path), "poolclass": NullPool}
    with _explained(url):
        engine = sqlalchemy.create_engine(complete(url), **arguments)
        try:
            if not _is_complete(engine):
                return None
        finally:
            engine.dispose()
        return optuna.storages.RDBStorage(complete(url), engine_kwargs=arguments, skip_table_creation=True)


def _is_complete(engine: sqlalchemy.Engine) -> bool:
    """Return whether all of Optuna's tables are made; it writes the version of their schema last."""
    inspector = sqlalchemy.inspect(engine)
    if not inspector.has_table("studies") or not inspector.has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").first() is not None


@contextlib.contextmanager
def refuse_damage(url: str) -> Iterator[None]:
    """Turn what goes wrong while trials are read into one sentence.

    Raises:
        StudyError: If the database is damaged: tables, rows or values in them are not what was stored.
        WorkError: If it does not answer.
    """
    try:
        yield
    except (
        sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError,
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
    ) as error:  # fmt: skip
        if is_passing(error):
            raise WorkError(
                f"the database {url} does not answer ({describe(error)}); run the same command again when it does",
                page="howto/resume.md#the-database-does-not-answer",
            ) from None
        cause = error.__cause__ or error
        raise StudyError(
            f"the trials in {url} cannot be read ({redact(first_line(cause))}): the database is damaged; restore it, "
            "or move it away and search anew"
        ) from None


class _DurableConnection(sqlite3.Connection):
    """A connection whose commits a power cut cannot undo.

    Where the journal's removal is not synced, which SQLite leaves out otherwise, it undoes the last trial.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=EXTRA")


def _engine_arguments(url: str) -> dict[str, Any]:
    """Return how connections are made, such that a dead one is noticed; what the URL says itself goes before."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _SQLITE_TIMEOUT, "factory": _DurableConnection}}
    wanted = {key: value for key, value in _connect_arguments(parsed).items() if key not in parsed.query}
    return {"pool_pre_ping": True, "connect_args": wanted}


def _connect_arguments(url: URL) -> dict[str, int]:
    """Return seconds after which a driver gives up a connection that is silent."""
    driver = url.get_driver_name()
    if url.get_backend_name() == "postgresql" and driver in ("psycopg", "psycopg2"):
        return {"connect_timeout": _CONNECT_TIMEOUT, "keepalives_idle": 30, "keepalives_interval": 10}
    if driver in ("pymysql", "mysqldb"):
        seconds = max(1, math.ceil(patience()))
        return {"connect_timeout": _CONNECT_TIMEOUT, "read_timeout": seconds, "write_timeout": seconds}
    return {}


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what goes wrong with a database into one sentence."""
    try:
        yield
    except (
        sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError,
        OSError, ImportError, ValueError, RuntimeError,
    ) as error:  # fmt: skip
        path = sqlite_path(url)
        cause = error.__cause__ if isinstance(error, optuna.exceptions.OptunaError) else None
        if path is not None and path.exists():
            raise StudyError(_unusable(path, cause or error)) from None
        raise StudyError(
            f"cannot open the storage {url} ({redact(first_line(cause or error))}); give an SQLAlchemy URL such as "
            "sqlite:///study.db or postgresql+psycopg://user@host/database, and a password in the environment variable "
            f"{VARIABLE}, by --storage-file or in ~/.pgpass"
        ) from None


def _prepare_sqlite(path: Path) -> None:
    """Check an SQLite file that will be written to; make its folder where there is none.

    Earlier versions wrote through a -wal file, which network file systems cannot share, which even readers make, and
    without which a copy of the database is incomplete.
    """
    require_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_SQLITE_TIMEOUT)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if "locked" not in str(error):  # by one who reads it the former way, which goes on to work
            raise StudyError(_unusable(path, error)) from None


def _unusable(path: Path, error: BaseException) -> str:
    return f"{path} is not a database that can be used ({first_line(error)}); move it away or give another --storage"
