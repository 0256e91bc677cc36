"""One driver at a time for a study in a shared database, whose folder was copied."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest

from nas.runtime.lock import Holder
from nas.search import lease
from nas.search.lease import DRIVER_ATTR, Lease
from search_spaces.errors import StudyError

ME = Holder.of_this_process(["nas", "search"])


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=f"sqlite:///{tmp_path}/s.db", study_name="exp-1")


def test_a_copy_is_refused_while_the_first_is_driven(study: optuna.Study) -> None:
    with Lease(study, ME, "/one 1").hold():
        with (
            pytest.raises(
                StudyError, match=rf"in a copy of this folder, by .*, process {os.getpid()}, since"
            ),
            Lease(study, ME, "/two 2").hold(),
        ):
            pass
    with Lease(study, ME, "/two 2").hold():
        pass


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"seen": (datetime.now(UTC) - timedelta(minutes=6)).isoformat()}, True),
        ({"place": "/two 2"}, True),  # the folder's own lock is ours
        ({"pid": 2**22 + 1}, True),  # dead, on this machine
        ({"pid": 2**22 + 1, "machine": "another"}, False),
        ({"seen": "soon"}, True),
    ],
    ids=["held", "silent for six minutes", "our own folder", "dead here", "dead elsewhere", "no time"],
)
def test_who_has_gone_holds_nothing(change: dict[str, object], free: bool, study: optuna.Study) -> None:
    with Lease(study, ME, "/one 1").hold():
        driver = study.user_attrs[DRIVER_ATTR]
    study.set_user_attr(DRIVER_ATTR, {**driver, **change})
    if free:
        with Lease(study, ME, "/two 2").hold():
            pass
    else:
        with pytest.raises(StudyError), Lease(study, ME, "/two 2").hold():
            pass


def test_the_driver_keeps_saying_that_it_is_there(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    mine = Lease(study, ME, "/one 1")
    with mine.hold():
        first = study.user_attrs[DRIVER_ATTR]["seen"]
        wait_until(lambda: study.user_attrs[DRIVER_ATTR]["seen"] > first)
        mine.require()
        other = replace(ME, user="bob")
        study.set_user_attr(DRIVER_ATTR, {**other.__dict__, "token": "other"})
        wait_until(lambda: mine._lost_to is not None)
        with pytest.raises(StudyError, match="by bob on"):
            mine.require()
    assert study.user_attrs[DRIVER_ATTR]["token"] == "other"  # what is another's stays


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)
