"""Designs that are evaluated together with one that fails are not lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import ItemResult, More
from nas.cluster.ray_cluster import Cluster
from nas.evaluation import population
from nas.evaluation.population import Population
from nas.search.evaluations import Failure
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from search_spaces.architecture import Architecture
from search_spaces.space import Space
from tests.helpers import workers
from tests.helpers.searches import MemoryStore, small_space


class FakePool:
    """Answers in this process, two at a time; a group that holds the planted design fails as a whole."""

    def __init__(self, allocation: WorkerAllocation, factory: object, payload: str) -> None:
        self.allocation, self.planted = allocation, payload
        self.sizes: list[int] = []

    def map_together(
        self, method: str, items: Sequence[Any], preferred: Sequence[int], more: More, **how: Any
    ) -> Iterator[list[ItemResult]]:
        waiting = list(enumerate(items))
        while waiting:
            yield [self.answer(*one) for one in waiting[:2]]
            del waiting[:2]
            if not waiting:
                self.count = getattr(self, "count", len(items))
                others, _ = more()
                waiting += enumerate(others, start=self.count)
                self.count += len(others)

    def answer(self, index: int, group: Sequence[Any]) -> ItemResult:
        self.sizes.append(len(group))
        digests = [Architecture.from_json(design).digest for design, _ in group]
        if self.planted in digests:
            return ItemResult(index, None, "out of memory")
        return ItemResult(index, [{"top1": float(int(digest, 16) % 100)} for digest in digests])


def test_designs_that_are_done_together_are_stored_together(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(population, "Pool", FakePool)
    designs = list({design.digest: design for design in map(space.sample, map(Random, range(24)))}.values())
    evaluate = Population(WorkerAllocation(len(designs), 1.0, 0.0, "cpu"), "")  # type: ignore[arg-type]
    together = [len(done) for done in evaluate(designs, [0.0] * len(designs))]
    assert sum(together) == len(designs) and set(together[:-1]) == {
        2
    }  # groups of one, two of which end at once


def test_a_group_that_fails_is_evaluated_one_by_one(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "Pool", FakePool)
    designs = [space.sample(Random(seed)) for seed in range(24)]
    designs = list({design.digest: design for design in designs}.values())
    planted = designs[5].digest
    evaluate = Population(WorkerAllocation(1, 1.0, 0.0, "cpu"), planted)  # type: ignore[arg-type]
    found: dict[int, Any] = {}
    for done in evaluate(designs, [0.0] * len(designs)):
        assert not found.keys() & done.keys()
        found.update(done)
    assert found == {
        index: Failure("out of memory")
        if design.digest == planted
        else {"top1": float(int(design.digest, 16) % 100)}
        for index, design in enumerate(designs)
    }
    sizes = evaluate.pool.sizes  # type: ignore[attr-defined]
    assert max(sizes) > 1 and sizes[-1] == 1


def test_further_designs_are_evaluated_with_the_first(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "Pool", FakePool)
    designs = list({design.digest: design for design in map(space.sample, map(Random, range(30)))}.values())
    parts = [designs[:12], designs[12:20], [], designs[20:]]
    evaluate = Population(WorkerAllocation(1, 1.0, 0.0, "cpu"), designs[14].digest)  # type: ignore[arg-type]
    left = iter(parts[1:])
    found: dict[int, Any] = {}
    for done in evaluate(parts[0], [0.0] * 12, lambda: (part := next(left, []), [0.0] * len(part))):
        assert not found.keys() & done.keys()
        found.update(done)
    assert len(found) == 20  # none were left for now, so it ended
    assert found[14] == Failure("out of memory")
    assert {index: one for index, one in found.items() if index != 14} == {
        index: {"top1": float(int(designs[index].digest, 16) % 100)} for index in range(20) if index != 14
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_search_on_real_workers_goes_on_without_designs_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    space, planted = small_space(), list(small_space().enumerate())
    payload = {"raises": {design.digest for design in planted[::30]}, "kills": {planted[10].digest}}
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv(
        "PYTHONPATH", f"{Path(__file__).parents[3]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    monkeypatch.setattr(population, "EvaluationWorker", workers.FailingWorker)
    ray_cluster.start(Cluster(2, 0, "this machine", running=False))
    try:
        evaluate = Population(WorkerAllocation(2, 1.0, 0.0, "cpu"), payload)
        config = SearchConfig(Goal(), batch_size=24, trials=100)
        store = MemoryStore()
        rows = Search(space, store, config, evaluate, analytic_costs).run(lambda row, n: None)  # type: ignore[arg-type]
        evaluate.close()
    finally:
        ray_cluster.stop()
    failed = {row.architecture.digest: str(row.failed) for row in rows if row.failed is not None}
    assert failed.keys() == payload["raises"] | payload["kills"]
    assert "killed 2 workers" in failed[planted[10].digest]
    assert all("20 GiB" in failed[digest] for digest in payload["raises"])
    assert sum(row.evaluated for row in rows) == 72 - 4
