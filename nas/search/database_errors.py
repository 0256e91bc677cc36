"""What an error of a database means: that it will pass, that there is no room, or that nothing may be written.

SQLAlchemy wraps the errors of all drivers, but says of none whether waiting helps. PostgreSQL's drivers give the
five letters of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), MySQL's and MariaDB's a
number, SQLite's a sentence; a connection that is refused has neither letters nor number in psycopg.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy

from nas.runtime.error_text import first_line
from nas.runtime.secrets import redact

#: Classes of SQLSTATE: connection, rolled back by deadlock, resources, operator (shut down, starting up, killed).
_PASSING_CLASSES = ("08", "40", "53", "57")
_PASSING_STATES = ("55P03", "HYT00")  # a lock that was not obtained in time
_FULL_STATE, _READ_ONLY_STATE = "53100", "25006"
#: Numbers of MySQL and MariaDB: too many connections, shut down, killed, lost, lock or deadlock, unreachable.
_PASSING_NUMBERS = {
    *(1040, 1053, 1077, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1205, 1213, 1317, 1927),
    *(2002, 2003, 2006, 2012, 2013, 2014, 2055),
}
_FULL_NUMBERS = {1021, 1114}
_READ_ONLY_NUMBERS = {1036, 1290, 1792, 1836}
#: Of a connection that is refused for good; PostgreSQL says it in English where no locale is set.
_REFUSED = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied", "not permitted")
_PASSING_WORDS = ("database is locked", "database table is locked", "database schema is locked")
_FULL_WORDS = ("database or disk is full", "no space left on device", "disk full", "disk quota exceeded")
_READ_ONLY_WORDS = ("readonly database", "read-only transaction", "unable to open database file")
_BROKEN_WORDS = ("disk i/o error",)


def find_database_error(error: BaseException | None) -> sqlalchemy.exc.DBAPIError | sqlite3.Error | None:
    """Return a driver's error in a chain of causes, since Optuna wraps some; None where there is none."""
    while error is not None:
        if isinstance(error, sqlalchemy.exc.DBAPIError | sqlite3.Error):
            return error
        error = error.__cause__
    return None


def is_passing(error: BaseException) -> bool:
    """Return whether an operation that failed so may succeed when it is done again."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return True  # of the pool
    if (found := find_database_error(error)) is None or is_full(error) or is_read_only(error):
        return False
    if getattr(found, "connection_invalidated", False):
        return True
    state, number, text = _code(found)
    if state is not None:
        return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    if number is not None:
        return number in _PASSING_NUMBERS
    if "sqlite" in type(_driver_error(found)).__module__:
        return any(words in text for words in _PASSING_WORDS)
    # A connection that failed: refused, reset, timed out, a name that is not resolved.
    kinds = sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError
    return isinstance(found, kinds) and not any(words in text for words in _REFUSED)


def is_race(error: BaseException) -> bool:
    """Return whether somebody else made the same table or row at the same instant."""
    if isinstance(error, AssertionError):
        return True  # of Optuna, which finds tables whose version is not written yet
    found = find_database_error(error)
    return isinstance(found, sqlalchemy.exc.IntegrityError) or (
        found is not None and any(words in _code(found)[2] for words in ("already exists", "no such table"))
    )


def is_full(error: BaseException) -> bool:
    """Return whether there was no room for what was to be written."""
    if (found := find_database_error(error)) is None:
        return False
    state, number, text = _code(found)
    return state == _FULL_STATE or number in _FULL_NUMBERS or any(words in text for words in _FULL_WORDS)


def is_read_only(error: BaseException) -> bool:
    """Return whether a database or its disk refuses every write."""
    if (found := find_database_error(error)) is None:
        return False
    state, number, text = _code(found)
    words = any(each in text for each in _READ_ONLY_WORDS)
    return state == _READ_ONLY_STATE or number in _READ_ONLY_NUMBERS or words


def is_broken_disk(error: BaseException) -> bool:
    """Return whether SQLite's disk failed, which it also says of one that is full at a limit of the process."""
    found = find_database_error(error)
    return found is not None and any(words in _code(found)[2] for words in _BROKEN_WORDS)


def describe(error: BaseException) -> str:
    """Return a database's own words, in one line and without secrets."""
    found = find_database_error(error)
    return redact(first_line(error if found is None else _driver_error(found)))


def _driver_error(error: sqlalchemy.exc.DBAPIError | sqlite3.Error) -> BaseException:
    original = getattr(error, "orig", None)
    return error if original is None else original


def _code(error: sqlalchemy.exc.DBAPIError | sqlite3.Error) -> tuple[str | None, int | None, str]:
    """Return an error's SQLSTATE, its number, and its text in small letters, as far as its driver gives them."""
    original = _driver_error(error)
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    first = original.args[0] if original.args else None
    number = first if isinstance(first, int) and first else None
    # PyMySQL says so of a connection that it has closed itself.
    if first == 0 and number is None:
        number = 2006
    return state, number, str(original).lower()
