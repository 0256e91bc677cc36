"""Whether a database can be reached and written, found out without leaving a trace in it."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy
from sqlalchemy.engine import make_url

from nas.runtime.error_text import first_line
from nas.runtime.files import require_writable
from nas.runtime.secrets import redact
from nas.search.storage_url import VARIABLE, clean, complete, sqlite_path
from search_spaces.errors import StudyError

_TIMEOUT = 10  # seconds for a server to answer
_STUDIES = "studies"  # a table that Optuna makes
_PROBE = "nas_write_probe"


def require_usable(url: str) -> None:
    """Check that a storage can be reached and written; what is tried is rolled back.

    Raises:
        StudyError: If it cannot.
    """
    url = clean(url)
    path = sqlite_path(url)
    if path is None:
        _require_server(url)
    elif not path.exists():
        require_writable(path.parent)
    elif not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise StudyError(
            f"the database {path} cannot be written; change its rights or give another --storage"
        )


def _require_server(url: str) -> None:
    arguments: dict[str, Any] = {}
    try:
        full = make_url(complete(url))
        if (
            full.get_backend_name() in ("postgresql", "mysql", "mariadb")
            and "connect_timeout" not in full.query
        ):
            arguments["connect_timeout"] = _TIMEOUT
        engine = sqlalchemy.create_engine(full, connect_args=arguments, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            _write_and_roll_back(connection)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise StudyError(
            f"cannot open the storage {url} ({redact(first_line(error))}); give an SQLAlchemy URL such as "
            "sqlite:///study.db or postgresql+psycopg://user@host/database, and a password in the environment variable "
            f"{VARIABLE}, by --storage-file or in ~/.pgpass"
        ) from None


def _write_and_roll_back(connection: sqlalchemy.Connection) -> None:
    """Write a row where Optuna's tables exist, else make a table, and take it back.

    MySQL ends a transaction at every new table, so that one that exists for this connection alone is made there.
    """
    inspector = sqlalchemy.inspect(connection)
    if inspector.has_table(_STUDIES):
        names = sqlalchemy.Table(
            _STUDIES, sqlalchemy.MetaData(), sqlalchemy.Column("study_name", sqlalchemy.String)
        )
        connection.execute(names.insert().values(study_name=_PROBE))
    else:
        kind = "TEMPORARY TABLE" if connection.dialect.name in ("mysql", "mariadb") else "TABLE"
        connection.execute(sqlalchemy.text(f"CREATE {kind} {_PROBE} (number INTEGER)"))
    connection.rollback()
