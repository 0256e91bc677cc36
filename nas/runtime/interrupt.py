"""Ctrl-C and SIGTERM as a request that long work answers between two steps.

The first signal asks: the work saves its state and raises ``Interrupted``. A second one insists and
raises ``KeyboardInterrupt`` wherever the program is.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from search_spaces.errors import NasError

_asked = False


class Interrupted(NasError):
    """The user interrupted the work; its state is saved and the same command goes on with it."""

    exit_code = 130


def ask() -> None:
    """Ask this process for an interruption, as a signal would; for workers, which get no signals."""
    global _asked
    _asked = True


def asked() -> bool:
    """Return whether an interruption was asked for."""
    return _asked


def check() -> None:
    """Raise if an interruption was asked for; call where the state is whole.

    Raises:
        Interrupted: If it was.
    """
    if _asked:
        raise Interrupted("interrupted")


@contextlib.contextmanager
def graceful() -> Iterator[None]:
    """Answer SIGINT and SIGTERM as described above while the block runs."""
    global _asked
    _asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        global _asked
        if _asked:
            raise KeyboardInterrupt
        _asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = False
