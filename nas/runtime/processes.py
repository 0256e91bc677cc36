"""Processes told from others: where their numbers mean something, and whether one has ended."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import select
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 1.0  # between two looks at a process, where the kernel does not tell of its end


@functools.cache
def process_place() -> str:
    """Return eight letters for where process ids mean what they mean here: this boot, this container."""
    try:
        place = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8") + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        place = platform.node()
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def start_of(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks, which tells it from a later one of its number; or None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


@dataclass(frozen=True)
class ProcessId:
    """A process, anywhere.

    Args:
        place: Where its number means something.
        pid: Its number.
        started: When it began, or None where that is unknown.
    """

    place: str
    pid: int
    started: str | None

    @classmethod
    def of_this_process(cls) -> ProcessId:
        """Return this process."""
        return cls(process_place(), os.getpid(), start_of(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether this process can see whether that one runs."""
        return self.place == process_place() and self.started is not None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more; False where nobody here can see it."""
        return self.is_here and start_of(self.pid) != self.started


def end_with(other: ProcessId) -> None:
    """End this process, at once and whatever it is doing, as soon as another one of this machine has ended."""
    if other.is_here and other.pid != os.getpid():
        threading.Thread(target=_await_end, args=(other,), daemon=True, name="driver").start()


def _await_end(other: ProcessId) -> None:
    handle: int | None = None
    with contextlib.suppress(OSError, AttributeError):
        handle = os.pidfd_open(other.pid)
    while not other.has_ended:
        if handle is None:
            time.sleep(_LOOK_SECONDS)
        else:
            select.select([handle], [], [], _LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
