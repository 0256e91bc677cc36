"""Two drivers of one study: no design is evaluated twice, and both end with the same trials."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nas.runtime.lock import Holder
from nas.search.evaluations import Failure
from nas.search.lease import Lease
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from tests.helpers.searches import GOALS, FakeEvaluations, MemoryStore, comparable, run_search, small_space


class SlowEvaluations(FakeEvaluations):
    """Evaluations that take a while, so that others have some left.

    Args:
        seconds: How long each takes.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        for result in super().__call__(designs, required_top1):
            time.sleep(self.seconds)
            yield result


def drive(
    folder: Path, evaluate: FakeEvaluations, trials: int, ready: threading.Barrier | None = None
) -> list[TrialRecord]:
    """Search as one of several drivers."""
    space = small_space()
    store = Store(f"sqlite:///{folder}/s.db", "study", GOALS[2].objectives, space.choices)
    me = Holder.of_this_process(["nas", "search", "--join"])
    store.lease = Lease(store.storage, store.study, store.url, me, "/place 1", join=True)
    config = SearchConfig(GOALS[2], "nsga2", 8, trials, None, 0)
    with store.lease.hold():
        if ready is not None:
            ready.wait()
        return Search(space, store, config, evaluate, analytic_costs).run(lambda record, count: None)


def test_two_drivers_share_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.search.sharing._POLL_SECONDS", 0.05)
    both, ready = (SlowEvaluations(0.02), SlowEvaluations(0.05)), threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(drive, tmp_path, evaluate, 30, ready) for evaluate in both]
        first, second = (run.result(60) for run in runs)
    expected = run_search(MemoryStore(), small_space(), trials=30, batch=8)
    assert comparable(first) == comparable(second) == comparable(expected)
    seen = [digest for evaluate in both for digest in evaluate.seen]
    assert len(seen) == len(set(seen)) == 30
    assert all(len(evaluate.seen) >= 3 for evaluate in both), [len(evaluate.seen) for evaluate in both]


def test_one_who_joins_late_goes_on_where_the_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.sharing._POLL_SECONDS", 0.05)
    early, late = SlowEvaluations(0.05), SlowEvaluations(0.02)
    with ThreadPoolExecutor(2) as pool:
        run = pool.submit(drive, tmp_path, early, 30)
        while len(early.seen) < 6:
            time.sleep(0.01)
        second = drive(tmp_path, late, 30)
        assert comparable(run.result(60)) == comparable(second)
    assert late.seen and len(early.seen) + len(late.seen) == len({*early.seen, *late.seen}) == 30
