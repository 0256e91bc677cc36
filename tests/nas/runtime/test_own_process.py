"""A function in a process of its own: its answer, its failure in one sentence, and an end."""

from __future__ import annotations

import math
import os
import time
from functools import partial

import pytest

from nas.runtime.own_process import call_in_own_process
from search_spaces.errors import WorkError


def test_the_answer_is_of_another_process() -> None:
    assert call_in_own_process(partial(math.hypot, 3.0, 4.0)) == 5.0
    assert call_in_own_process(os.getpid) != os.getpid()


def test_a_failure_is_one_sentence() -> None:
    with pytest.raises(WorkError, match=r"^ZeroDivisionError: .*by zero$"):
        call_in_own_process(partial(divmod, 1, 0))
    with pytest.raises(WorkError, match=r"^its process ended with 3$"):
        call_in_own_process(partial(os._exit, 3))


def test_what_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(WorkError, match=r"^it took longer than 0\.5 s$"):
        call_in_own_process(partial(time.sleep, 60), 0.5)
    assert time.monotonic() - started < 30
