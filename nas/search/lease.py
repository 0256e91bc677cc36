"""One driver at a time for a study in a shared database, whose folder was copied: its lock does not reach the copy.

The driver writes down who it is and, twice a minute, that it is still there. Another one waits until that is five
minutes old; the clocks of both machines should agree to a minute.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from nas.runtime.console import log
from nas.runtime.error_text import first_line
from nas.runtime.lock import Holder
from search_spaces.errors import StudyError

#: The attribute of a study with who drives it.
DRIVER_ATTR = "nas:driver"

BEAT_SECONDS = 30.0
EXPIRES_SECONDS = 300.0


@dataclass
class Lease:
    """The right to add trials to a study in a database.

    Args:
        study: The study.
        holder: Who asks for it.
        place: Tells the study's folder from its copies; who locked the same folder needs no other lease.
    """

    study: optuna.Study
    holder: Holder
    place: str
    _token: str = field(default_factory=lambda: secrets.token_hex(8), init=False)
    _lost_to: str | None = field(default=None, init=False)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lease while the block runs.

        Raises:
            StudyError: If another driver has it; the sentence says who.
        """
        if (other := _live_driver(self._read(), self.place)) is not None:
            raise StudyError(self._refusal(other))
        self._write()
        self._look()  # somebody may have written at the same moment; the last one has it
        self.require()
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if self._lost_to is None:
                with contextlib.suppress(
                    Exception
                ):  # whatever a database raises: the lease expires by itself
                    self.study.set_user_attr(DRIVER_ATTR, None)

    def require(self) -> None:
        """Check that the lease is still held.

        Raises:
            StudyError: If another driver has taken it.
        """
        if self._lost_to is not None:
            raise StudyError(self._refusal(self._lost_to))

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                self._look()
                if self._lost_to is not None:
                    return
                self._write()
            except Exception as error:  # whatever a database raises: the next beat may get through
                log.note(f"the study's database does not answer: {first_line(error)}")

    def _read(self) -> dict[str, Any]:
        return self.study.user_attrs.get(DRIVER_ATTR) or {}

    def _look(self) -> None:
        driver = self._read()
        if driver.get("token", self._token) != self._token:
            self._lost_to = _describe(driver)

    def _write(self) -> None:
        self.study.set_user_attr(
            DRIVER_ATTR,
            {
                **asdict(self.holder),
                "machine": _machine(),
                "place": self.place,
                "token": self._token,
                "seen": datetime.now(UTC).isoformat(),
            },
        )

    def _refusal(self, other: str) -> str:
        return (
            f"study '{self.study.study_name}' is worked on, in a copy of this folder, by {other}; wait for it, end it, "
            "or choose another --study"
        )


def _live_driver(driver: dict[str, Any], place: str) -> str | None:
    """Return who drives a study, in words; None where nobody does any more."""
    try:
        if driver["place"] == place:
            return None  # its folder's lock is ours, so it has ended
        if driver["machine"] == _machine() and not _is_alive(driver["pid"]):
            return None
        age = datetime.now(UTC) - datetime.fromisoformat(driver["seen"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if age.total_seconds() > EXPIRES_SECONDS else _describe(driver)


def _describe(driver: dict[str, Any]) -> str:
    return str(Holder(**{name: driver.get(name, "?") for name in Holder.__dataclass_fields__}))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    """Return what tells this machine, since its last start, and its container from others."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts) or f"unknown {secrets.token_hex(8)}"
