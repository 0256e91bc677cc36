"""Waiting for a database that does not answer: a server restarts, a network fails, another process has it locked.

Whatever is done here must be such that doing it twice does no harm: a connection that breaks in the middle of a
commit leaves open whether that took place.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy

from nas.runtime import interrupt
from nas.runtime.console import duration, log
from nas.search.database_errors import describe, is_broken_disk, is_full, is_passing, is_race, is_read_only
from search_spaces.errors import StudyError, WorkError

#: The environment variable with the seconds that a database may be silent for.
VARIABLE = "NAS_STORAGE_WAIT"
SILENCE_PAGE = "howto/resume.md#the-database-does-not-answer"

_DEFAULT_SECONDS = 600.0
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0  # seconds between two attempts; each is twice the one before
_FIRST_LINE, _NEXT_LINE = 10.0, 60.0  # seconds of silence after which it is said, and said again
_RACES = 10  # attempts at what somebody else does as well

Result = TypeVar("Result")

_connections: dict[str, weakref.WeakSet[Any]] = {}  # by database


def patience() -> float:
    """Return the seconds that a database may be silent for.

    Raises:
        StudyError: If the environment says something that is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text.strip() else _DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise StudyError(f"{VARIABLE}={text} is no number of seconds; give one such as {VARIABLE}=600")
    return seconds


def insist(place: str, operation: Callable[[], Result], *, creates: bool = False) -> Result:
    """Do what a database is asked for, again and again while its refusals may pass.

    Args:
        place: The database, for people; a URL without secrets.
        operation: What is done; harmless when done twice.
        creates: Whether it makes tables or rows that another process may make at the same instant.

    Returns:
        What ``operation`` returns.

    Raises:
        WorkError: If the database is silent for longer than ``NAS_STORAGE_WAIT``, is full or takes no writes.
        Interrupted: If the user asked to stop while nothing answered.
    """
    seconds, delay, races = patience(), _FIRST_DELAY, 0
    started = time.monotonic()
    with _announcing(place, seconds) as silence:
        while True:
            try:
                return operation()
            except Exception as error:
                if creates and is_race(error) and races < _RACES:
                    races += 1
                elif not is_passing(error):
                    raise_known(place, error)
                    raise
                silence.reason = describe(error)
                log.note(f"the database {place} failed: {silence.reason}")
                waited = time.monotonic() - started
                if waited >= seconds:
                    raise WorkError(
                        f"the database {place} has not answered for {duration(waited)} ({silence.reason}); what it "
                        f"holds is kept: run the same command again when it answers, or wait longer with {VARIABLE} "
                        f"(seconds, now {seconds:g})",
                        page=SILENCE_PAGE,
                    ) from None
            _sleep(min(delay, max(0.0, started + seconds - time.monotonic())))
            delay = min(2 * delay, _LONGEST_DELAY)


def raise_known(place: str, error: BaseException) -> None:
    """Raise one sentence for a database's error that is known and will not pass by itself; else return.

    Raises:
        WorkError: If the database is full, takes no writes, or its disk fails.
    """
    again = "what it holds is kept: then run the same command again"
    if is_full(error):
        raise WorkError(
            f"the database {place} has no room left ({describe(error)}); free some space; {again}",
            page="howto/resume.md#disk-full",
        ) from None
    if is_read_only(error):
        raise WorkError(
            f"the database {place} cannot be written ({describe(error)}); make its disk or its rights writable; {again}"
        ) from None
    if is_broken_disk(error):
        raise WorkError(
            f"the disk of the database {place} fails or is full ({describe(error)}); mend that; {again}"
        ) from None


def watch_connections(place: str, engine: sqlalchemy.Engine) -> None:
    """Note the connections of a database, so that one in which a server has frozen can be broken off.

    A driver waits for an answer for as long as the server's machine acknowledges that it is there.
    """
    known = _connections.setdefault(place, weakref.WeakSet())

    def note(connection: Any, record: object) -> None:
        if hasattr(connection, "fileno"):  # of psycopg; PyMySQL has a timeout of its own
            known.add(connection)

    sqlalchemy.event.listen(engine, "connect", note)
    engine.dispose()  # the connections that were made before


def _break_off(place: str) -> None:
    """Break all noted connections of a database off, such that who waits for an answer gets an error."""
    for connection in list(_connections.get(place, ())):
        with contextlib.suppress(Exception):  # whatever a driver says of a connection that is closed
            with socket.socket(fileno=os.dup(connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)


class _Silence:
    """How long a database has not answered: what it said last, and whether people were told."""

    def __init__(self) -> None:
        self.reason = "no answer"
        self.announced = False


@contextlib.contextmanager
def _announcing(place: str, seconds: float) -> Iterator[_Silence]:
    """Say while the block runs that a database does not answer, also where a driver waits for it and never returns."""
    silence, ended, started = _Silence(), threading.Event(), time.monotonic()

    def announce() -> None:
        said = _FIRST_LINE
        while True:
            silent = time.monotonic() - started
            if silent > seconds:
                _break_off(place)
            elif silent >= said:
                silence.announced, said = True, silent + _NEXT_LINE
                log.say(
                    f"the database {place} has not answered for {duration(silent)} ({silence.reason}); "
                    f"waiting up to {duration(seconds)}"
                )
            # After the end of patience once a second, for connections that are made meanwhile.
            until = min(said, seconds) - silent if silent < seconds else 1.0
            if ended.wait(max(0.01, until)):
                return

    thread = threading.Thread(target=announce, daemon=True, name="database")
    thread.start()
    try:
        yield silence
    finally:
        ended.set()
        thread.join()
    if silence.announced:
        log.say(f"the database answers again after {duration(time.monotonic() - started)}")


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        interrupt.check()
        time.sleep(min(left, 0.2))
