"""A first signal asks a program to stop, a second one stops it."""

from __future__ import annotations

import os
import signal
import threading

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


def test_in_a_thread_signals_are_left_to_the_main_one() -> None:
    """Python refuses to set handlers there; some notebooks run cells in threads."""
    before, entered = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupt.graceful():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [before]
