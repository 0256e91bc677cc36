"""The right to search a study: one process has it, or several that share its batches on purpose.

Who searches writes down who it is and, twice a minute, that it is still there. Another one is refused until that
process has ended, which is seen at once on its own machine, or has been silent for five minutes by the clock of the
database. Trials are stored only by who still has its row, in the transaction that stores them: a process that slept
while another took over can write nothing any more.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import optuna
from sqlalchemy import Connection

from nas.runtime.console import duration, log
from nas.runtime.error_text import first_line
from nas.runtime.lock import Holder, LockHeldError
from nas.runtime.processes import start_of
from nas.search.database_wait import insist
from nas.search.drivers import Driver, add_driver, beat, claim, list_drivers, remove_driver
from nas.search.own_tables import lock_study
from search_spaces.errors import StudyError

BEAT_SECONDS = 30.0
EXPIRES_SECONDS = 300.0

Result = TypeVar("Result")


@dataclass
class Lease:
    """The right to add trials to a study in a database, whose tables of ours were made.

    Args:
        storage: The database.
        study: The study in it.
        url: The database, for people.
        holder: Who asks for it.
        place: Tells the study's folder from its copies.
        alone: Whether the lock of that folder is this process's, and kept by its file system.
        join: Whether the study is shared with those who search it already.
        leads: Whether it is refused to others who do not join; who does not lead is in nobody's way.
    """

    storage: optuna.storages.RDBStorage
    study: optuna.Study
    url: str
    holder: Holder
    place: str
    alone: bool = False
    join: bool = False
    leads: bool = True
    token: str = field(default_factory=lambda: secrets.token_hex(8), init=False)
    _is_lost: bool = field(default=False, init=False)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lease while the block runs.

        Raises:
            StudyError: If another driver has it and it is not to be shared; the sentence says who.
        """
        self._in_transaction(self._take)
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with contextlib.suppress(Exception):  # whatever a database raises: the lease expires by itself
                self._attempt(lambda connection, study: remove_driver(connection, study, self.token))

    def require(self) -> None:
        """Check that the lease is still held.

        Raises:
            StudyError: If another driver has taken it.
        """
        if self._is_lost:
            raise self.lost()

    def lost(self) -> StudyError:
        """Return what to say where another driver has taken the lease."""
        others = self._in_transaction(list_drivers)
        by = _describe(others[0]) if others else "another command, which has ended"
        return StudyError(
            f"study '{self.study.study_name}' was taken over by {by}, since this command was silent for longer than "
            f"{duration(EXPIRES_SECONDS)}; what it had stored is kept, and nothing more is written"
        )

    def claim(self, batch: int, places: Sequence[int]) -> list[int]:
        """Claim a share of some places of a batch that nobody else evaluates or has stored; return them.

        Those of drivers that have ended are free again.
        """

        def take(connection: Connection, study_id: int) -> list[int]:
            self._remove_ended(connection, study_id)
            return claim(connection, study_id, self.token, batch, places)

        return self._in_transaction(take)

    def _take(self, connection: Connection, study_id: int) -> None:
        remove_driver(connection, study_id, self.token)  # of an attempt whose answer was lost
        others = self._remove_ended(connection, study_id)
        leaders = [driver for driver in others if driver.about.get("leads")]
        if leaders and not self.join:
            raise StudyError(self._refusal(leaders[0]), page=LockHeldError.page)
        about = {**asdict(self.holder), "machine": _machine(), "started": start_of(self.holder.pid)}
        about |= {"place": self.place, "leads": self.leads}
        add_driver(connection, study_id, self.token, about)

    def _remove_ended(self, connection: Connection, study_id: int) -> list[Driver]:
        """Remove the drivers that have ended; return the others but for this one."""
        left = []
        for driver in list_drivers(connection, study_id):
            if driver.token == self.token:
                continue
            if _has_ended(driver, self.holder.host, self.place if self.alone else None):
                remove_driver(connection, study_id, driver.token)
            else:
                left.append(driver)
        return left

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                with self.storage.engine.begin() as connection:
                    self._is_lost = not beat(connection, self._study_id(), self.token)
                if self._is_lost:
                    return
            except Exception as error:  # whatever a database raises: the next beat may get through
                log.note(f"the study's database does not answer: {first_line(error)}")

    def _study_id(self) -> int:
        return self.storage.get_study_id_from_name(self.study.study_name)

    def _attempt(self, operation: Callable[[Connection, int], Result]) -> Result:
        study_id = self._study_id()
        with self.storage.engine.begin() as connection:
            lock_study(connection, study_id)
            return operation(connection, study_id)

    def _in_transaction(self, operation: Callable[[Connection, int], Result]) -> Result:
        return insist(self.url, lambda: self._attempt(operation))

    def _refusal(self, other: Driver) -> str:
        left = duration(max(0.0, EXPIRES_SECONDS - other.silence))
        copy = "" if other.about.get("place") == self.place else ", in a copy of this folder,"
        return (
            f"study '{self.study.study_name}' is worked on{copy} by {_describe(other)}; wait for it (if it has died, "
            f"for {left}), end it, or choose another --study"
        )


def _has_ended(driver: Driver, host: str, locked_place: str | None) -> bool:
    """Return whether a driver does nothing any more.

    Args:
        driver: The driver.
        host: The name of this machine.
        locked_place: The folder whose lock this process holds, or None.
    """
    about = driver.about
    if about.get("machine") == _machine():
        return start_of(int(about["pid"])) != about.get("started")
    if locked_place is not None and (about.get("place"), about.get("host")) == (locked_place, host):
        return True  # of this machine before it was started again
    return driver.silence > EXPIRES_SECONDS


def _describe(driver: Driver) -> str:
    return str(Holder(**{name: driver.about.get(name, "?") for name in Holder.__dataclass_fields__}))


def _machine() -> str:
    """Return what tells this machine, since its last start, and its container from others."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts) or f"unknown {secrets.token_hex(8)}"
