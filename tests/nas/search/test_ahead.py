"""Batches that are proposed before earlier ones are finished: workers stay busy, and one seed is still one search."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.runtime.lock import Holder
from nas.search.lease import Lease
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.proposers import do_nothing
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from tests.helpers.searches import Killed, MemoryStore, comparable, evaluated_digests

BATCH = 6
SAMPLERS = ("nsga2", "screened", "random", "tpe")


def space() -> Space:
    """Return a space of 4,096 designs, more than are searched."""
    text = """
    name: planted
    blocks:
      mlp_ratio: [1, 2]
      operators:
        lsa: {window_size: [2, 4], pos: [none]}
        dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
    scales: {one: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: 4}]}}
    """
    return parse_declaration(text, "planted").space("one", 16, 3, 3)


@dataclass
class Workers:
    """Evaluates as workers do: so many designs at a time, which end in any order, and others are asked for meanwhile.

    Args:
        count: The workers.
        seed: Of the order.
        dies_after: Evaluations until it raises.
        straggler: The evaluation that ends when no worker has anything else, by its number; None for none.
        seconds: How long each takes.
    """

    count: int = 4
    seed: int = 0
    dies_after: int | None = None
    straggler: int | None = None
    seconds: float = 0.0
    seen: list[str] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)

    def __call__(
        self,
        designs: list[Architecture],
        required_top1: list[float],
        more: Callable[[], tuple[list[Architecture], list[float]]],
    ) -> Iterator[Mapping[int, Mapping[str, float]]]:
        rng, waiting, count = Random(self.seed), list(enumerate(designs)), len(designs)
        while waiting:
            running = waiting[: self.count]
            self.busy.append(len(running))
            ends = [index for index, _ in running if index != self.straggler] or [self.straggler]
            index = rng.choice(ends)
            design = dict(waiting)[index]
            waiting = [one for one in waiting if one[0] != index]
            if self.dies_after is not None and len(self.seen) >= self.dies_after:
                raise Killed
            self.seen.append(design.digest)
            time.sleep(self.seconds)
            yield {index: {"top1": int(design.digest, 16) % 1000 / 10}}
            new, required = more()
            assert len(new) == len(required)
            waiting += enumerate(new, start=count)
            count += len(new)


def run(
    store: Any,
    evaluate: Workers,
    *,
    sampler: str = "nsga2",
    ahead: int = 1,
    trials: int = 40,
    racing: Any = None,
    meanwhile: Callable[[], None] = do_nothing,
) -> list[TrialRecord]:
    """Search, and check that what is returned is what is kept and no design was evaluated twice."""
    config = SearchConfig(Goal(), sampler, BATCH, trials, None, 3, racing, ahead)
    search = Search(space(), store, config, evaluate, analytic_costs, meanwhile=meanwhile)
    records = search.run(lambda record, count: None)
    assert comparable(records) == comparable(store.records())
    digests = evaluated_digests(records)
    assert len(digests) == len(set(digests)) == trials
    return records


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_done_meanwhile_is_done_at_every_proposal_and_changes_none(sampler: str) -> None:
    calls: list[None] = []
    ahead = 0 if sampler == "tpe" else 1
    records = run(
        MemoryStore(), Workers(), sampler=sampler, ahead=ahead, meanwhile=lambda: calls.append(None)
    )
    assert len(calls) >= len(records)
    assert comparable(records) == comparable(run(MemoryStore(), Workers(), sampler=sampler, ahead=ahead))


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize("sampler", SAMPLERS[:3])
def test_trials_do_not_depend_on_workers_or_on_which_is_first(sampler: str, ahead: int) -> None:
    runs = [
        comparable(run(MemoryStore(), Workers(count, seed), sampler=sampler, ahead=ahead))
        for count, seed in ((1, 0), (4, 1), (30, 2))
    ]
    assert runs[0] == runs[1] == runs[2]
    assert (
        runs[0] != comparable(run(MemoryStore(), Workers(), sampler=sampler, ahead=0)) or sampler == "random"
    )


@pytest.mark.parametrize("sampler", SAMPLERS[:3])
@pytest.mark.parametrize("deaths", [(3,), (9, 2), (7, 7, 7), (16, 1, 1, 9)])
def test_a_search_that_was_killed_proposes_what_it_would_have(sampler: str, deaths: tuple[int, ...]) -> None:
    expected, store = run(MemoryStore(), Workers(seed=5), sampler=sampler), MemoryStore()
    for number, death in enumerate(deaths):
        with pytest.raises(Killed):
            run(store, Workers(seed=number, dies_after=death), sampler=sampler)
    again = Workers(seed=9)
    assert comparable(run(store, again, sampler=sampler)) == comparable(expected)
    assert len(again.seen) == 40 - sum(deaths)


@pytest.mark.parametrize("sampler", SAMPLERS[:3])
def test_a_longer_search_goes_on_from_a_shorter_one(sampler: str) -> None:
    store = MemoryStore()
    for trials in (7, 20, 33):
        run(store, Workers(seed=trials), sampler=sampler, trials=trials)
    assert comparable(run(store, Workers(), sampler=sampler)) == comparable(
        run(MemoryStore(), Workers(), sampler=sampler)
    )


@pytest.mark.parametrize(("ahead", "least"), [(0, 1), (1, 4)])
def test_workers_are_busy_while_one_design_of_a_batch_takes_long(ahead: int, least: int) -> None:
    workers = Workers(straggler=2)
    run(MemoryStore(), workers, ahead=ahead, trials=18)
    assert min(workers.busy[: 2 * BATCH - 4]) == least  # until the batch after it is used up too


def test_racing_asks_for_what_finished_batches_have_shown() -> None:
    runs = [comparable(run(MemoryStore(), Workers(count), racing=0.1)) for count in (1, 5)]
    assert runs[0] == runs[1]


def test_two_drivers_share_open_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.search.sharing._POLL_SECONDS", 0.02)
    both, ready = (Workers(2, 0, seconds=0.03), Workers(3, 1, seconds=0.02)), threading.Barrier(2)

    def drive(workers: Workers) -> list[TrialRecord]:
        store = Store(f"sqlite:///{tmp_path}/s.db", "study", Goal().objectives, space().choices)
        me = Holder.of_this_process(["nas", "search", "--join"])
        store.lease = Lease(store.storage, store.study, store.url, me, "/place 1", join=True)
        with store.lease.hold():
            ready.wait()
            config = SearchConfig(Goal(), "nsga2", BATCH, 30, None, 3, None, 1)
            return Search(space(), store, config, workers, analytic_costs).run(lambda record, count: None)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(drive, both)
    assert comparable(first) == comparable(second) == comparable(run(MemoryStore(), Workers(), trials=30))
    seen = [digest for workers in both for digest in workers.seen]
    assert len(seen) == len(set(seen)) == 30 and all(workers.seen for workers in both)
