"""Ctrl-C and SIGTERM as a request that long work answers between two steps.

After the first signal the work saves its state and raises ``Interrupted``. A second one raises
``KeyboardInterrupt`` at once, wherever the program is.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from search_spaces.errors import NasError

_requested = False


class Interrupted(NasError):
    """The user interrupted the work; its state is saved and the same command goes on with it."""

    exit_code = 130


def request() -> None:
    """Request the interruption of this process, as a signal would; for workers, which get no signals."""
    global _requested
    _requested = True


def is_requested() -> bool:
    """Return whether an interruption was requested."""
    return _requested


def check() -> None:
    """Raise if an interruption was requested; to be called between steps, where the state is consistent.

    Raises:
        Interrupted: If it was.
    """
    if _requested:
        raise Interrupted("interrupted")


@contextlib.contextmanager
def graceful() -> Iterator[None]:
    """Handle SIGINT and SIGTERM as described above while the block runs.

    Python lets the main thread alone handle signals: in another one the block runs without.
    """
    global _requested
    _requested = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        global _requested
        if _requested:
            raise KeyboardInterrupt
        _requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested = False
