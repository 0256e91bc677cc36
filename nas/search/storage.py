"""The database of a study: an SQLAlchemy URL, opened through Optuna's ``RDBStorage``."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy

from nas.runtime.error_text import first_line
from nas.runtime.files import require_writable
from nas.runtime.secrets import redact
from nas.search.objectives import OBJECTIVES
from nas.search.storage_url import VARIABLE, clean, complete, sqlite_path
from search_spaces.errors import StudyError

optuna.logging.set_verbosity(optuna.logging.WARNING)

_SQLITE_TIMEOUT = 60  # seconds that a writer waits for another one
_METRIC_NAMES = "study:metric_names"  # the attribute in which Study.set_metric_names keeps them


def check_storage(url: str, name: str, objectives: tuple[str, ...]) -> None:
    """Check that a storage can be used and holds no other study of this name; create nothing.

    Raises:
        StudyError: If it cannot be opened, or its study of that name has other objectives.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        require_writable(path.parent)
        return
    check_objectives(open_storage(url), url, name, objectives)


def check_objectives(
    storage: optuna.storages.RDBStorage, url: str, name: str, objectives: tuple[str, ...]
) -> None:
    """Check that a study, if there is one of this name, has these objectives.

    Raises:
        StudyError: If it has others.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return
    directions = [direction.name.lower() for direction in storage.get_study_directions(study_id)]
    stored = list(storage.get_study_system_attrs(study_id).get(_METRIC_NAMES, directions))
    wanted = [OBJECTIVES[objective][0] for objective in objectives]
    if directions != wanted or stored not in (list(objectives), wanted):
        raise StudyError(
            f"study '{name}' in {url} has the objectives {', '.join(stored)}, "
            f"not {', '.join(objectives)}; repeat them with --objective, or choose another --study"
        )


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at ``url``, creating an SQLite file where there is none.

    Its secrets are those that `clean` was given, or of ``NAS_STORAGE``; only here they are put in.

    Raises:
        StudyError: If it cannot be opened.
    """
    url, arguments = clean(url), dict[str, Any]()
    if (path := sqlite_path(url)) is not None:
        _prepare_sqlite(path)
        arguments["connect_args"] = {"timeout": _SQLITE_TIMEOUT}
    try:
        return optuna.storages.RDBStorage(complete(url), engine_kwargs=arguments)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        raise StudyError(
            f"cannot open the storage {url} ({redact(first_line(error))}); give an SQLAlchemy URL such as "
            "sqlite:///study.db or postgresql+psycopg://user@host/database, and a password in the environment variable "
            f"{VARIABLE}, by --storage-file or in ~/.pgpass"
        ) from None


def _prepare_sqlite(path: Path) -> None:
    """Create an SQLite file where there is none; let readers and the writer not wait for one another."""
    require_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The dashboard reads while a search writes; the file remembers the mode.
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    except sqlite3.Error as error:
        raise StudyError(
            f"{path} is not a database that can be used ({error}); move it away or give another --storage"
        ) from None
