"""Who may search a study: one process, or several on purpose, and nobody who lost the right."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import update

from nas.runtime.lock import Holder
from nas.search import lease
from nas.search.drivers import list_drivers, remove_driver
from nas.search.lease import Lease
from nas.search.own_tables import DRIVERS
from nas.search.trial_store import Store, TrialRecord
from search_spaces.errors import StudyError
from tests.helpers.searches import small_space

ME = Holder.of_this_process(["nas", "search"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/s.db", "exp-1", ("top1", "macs"), small_space().choices)


def lease_of(
    store: Store, place: str, holder: Holder = ME, *, alone: bool = False, join: bool = False
) -> Lease:
    return Lease(store.storage, store.study, store.url, holder, place, alone=alone, join=join)


def change(store: Store, silence: float = 0.0, **about: object) -> None:
    """Change what the only driver of a study has written down."""
    with store.storage.engine.begin() as connection:
        (driver,) = list_drivers(connection, 1)
        text = json.dumps({**driver.about, **about})
        connection.execute(update(DRIVERS).values(about=text, seen=DRIVERS.c.seen - silence))


def test_a_copy_is_refused_while_the_first_is_driven(store: Store) -> None:
    with lease_of(store, "/one 1").hold():
        with (
            pytest.raises(
                StudyError, match=rf"in a copy of this folder, by .*, process {os.getpid()}, since"
            ),
            lease_of(store, "/two 2").hold(),
        ):
            pass
    with lease_of(store, "/two 2").hold():
        pass


AWAY = {"machine": "another", "host": "another"}


@pytest.mark.parametrize(
    ("silence", "about", "alone", "free"),
    [
        (0, {}, True, False),
        (360, {}, True, False),  # it lives on this machine, however silent
        (360, AWAY, True, True),
        (240, AWAY, True, False),
        (0, {"pid": 2**22 + 1}, False, True),
        (0, {"started": "7"}, False, True),  # another process got its number
        (0, {"pid": 2**22 + 1, **AWAY}, True, False),
        (0, {"place": "/two 2"}, True, False),  # one that has joined the study may live on
        (0, {"place": "/two 2", "machine": "before"}, True, True),  # this machine was started again
        (0, {"place": "/two 2", **AWAY}, True, False),  # whose flock may not reach us
    ],
    ids=[
        *("held", "silent here", "silent elsewhere", "a little silent", "dead here", "number reused"),
        *("dead elsewhere", "our own folder", "restarted", "our folder from elsewhere"),
    ],
)
def test_who_has_gone_holds_nothing(
    silence: float, about: dict[str, object], alone: bool, free: bool, store: Store
) -> None:
    with lease_of(store, "/one 1").hold():
        change(store, silence, **about)
        second = lease_of(store, "/two 2", alone=alone)
        if free:
            with second.hold():
                pass
        else:
            with pytest.raises(StudyError, match="is worked on"), second.hold():
                pass


def test_the_refusal_says_how_long_a_dead_one_holds_it(store: Store) -> None:
    with lease_of(store, "/one 1").hold():
        change(store, 200, **AWAY)
        with pytest.raises(StudyError, match=r"if it has died, for 1m (39|40)s\), end it"):
            with lease_of(store, "/two 2").hold():
                pass


def test_the_driver_keeps_saying_that_it_is_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    mine = lease_of(store, "/one 1")
    with mine.hold():
        change(store, 1000)

        def silence() -> float:
            with store.storage.engine.begin() as connection:
                return list_drivers(connection, 1)[0].silence

        wait_until(lambda: silence() < 5)
        mine.require()
        with store.storage.engine.begin() as connection:
            remove_driver(connection, 1, mine.token)
        wait_until(lambda: mine._is_lost)
        with pytest.raises(StudyError, match="was taken over by another command"):
            mine.require()


def test_who_was_taken_over_writes_nothing_any_more(store: Store) -> None:
    """It slept for longer than the lease lasts, wakes up and stores what it has evaluated meanwhile."""
    space = small_space()
    design = space.sample(Random(3))
    record = TrialRecord(0, 0, space.values(design), design, {"top1": 50.0, "macs": 7.0})
    store.lease = lease_of(store, "/one 1")
    bob = replace(ME, user="bob")
    with store.lease.hold():
        store.add([record])
        change(store, 360, **AWAY)
        with lease_of(store, "/two 2", bob).hold():
            with pytest.raises(StudyError, match=r"was taken over by bob on .*; what it had stored is kept"):
                store.add([replace(record, index_in_batch=1, repeat=True)])
            assert store.records() == [record]


def test_who_joins_is_in_nobodys_way(store: Store) -> None:
    joins = lease_of(store, "/one 1", join=True)
    joins.leads = False
    with joins.hold(), lease_of(store, "/two 2").hold():
        with pytest.raises(StudyError, match="is worked on"), lease_of(store, "/three 3").hold():
            pass
        with lease_of(store, "/three 3", join=True).hold():
            pass


def test_claims_are_each_somebodys(store: Store) -> None:
    first, second, third = (lease_of(store, f"/{name}", join=True) for name in ("one", "two", "three"))
    with first.hold():
        assert first.claim(0, [0, 1, 2]) == [0, 1, 2]  # all, where nobody shares
        with second.hold():
            assert second.claim(0, [0, 1, 2]) == []
            assert first.claim(1, range(8)) == [0, 1] and second.claim(1, range(8)) == [2]
            with third.hold():
                assert third.claim(1, range(8)) == [3]
            assert second.claim(1, range(3, 5)) == [3]  # of one who has ended
        assert first.claim(1, range(8)) == [2, 3, 4, 5, 6, 7]


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)
