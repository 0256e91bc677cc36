"""Designs that are evaluated together with one that fails are not lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import ItemResult
from nas.evaluation import population
from nas.evaluation.population import Population
from nas.search.evaluations import Failure
from search_spaces.architecture import Architecture
from search_spaces.space import Space


class FakePool:
    """Answers in this process; a group that holds the planted design fails as a whole."""

    def __init__(self, allocation: WorkerAllocation, factory: object, payload: str) -> None:
        self.allocation, self.planted = allocation, payload
        self.sizes: list[int] = []

    def map(self, method: str, items: Sequence[Any], preferred: Sequence[int]) -> Iterator[ItemResult]:
        for index, group in enumerate(items):
            self.sizes.append(len(group))
            digests = [Architecture.from_json(design).digest for design, _ in group]
            if self.planted in digests:
                yield ItemResult(index, None, "out of memory")
            else:
                yield ItemResult(index, [{"top1": float(int(digest, 16) % 100)} for digest in digests])


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
