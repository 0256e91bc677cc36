"""A first signal asks a program to stop, a second one stops it."""

from __future__ import annotations

import os
import signal

import pytest

from nas.runtime import interrupt


def test_second_signal_insists_and_handlers_return() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt.graceful(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.is_requested()
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not interrupt.is_requested()
    interrupt.check()
