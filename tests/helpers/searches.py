"""Searches over a small space with made-up accuracies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from nas.search.evaluations import Failure
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space

GOALS = {
    1: Goal(("top1",)),
    2: Goal(("top1", "macs")),
    3: Goal(("top1", "macs", "params")),
}


class Killed(Exception):
    """Stands for kill -9: nothing of ours runs after it."""


@dataclass
class FakeEvaluations:
    """Evaluates by arithmetic on the digest.

    Args:
        shuffle: Seed of the order in which results come; None for the order asked.
        dies_after: Evaluations until it raises.
        fails: Says which designs cannot be evaluated.
    """

    shuffle: int | None = None
    dies_after: int | None = None
    fails: Callable[[Architecture], bool] = lambda design: False
    seen: list[str] = field(default_factory=list)

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        order = list(range(len(designs)))
        if self.shuffle is not None:
            Random(self.shuffle + len(self.seen)).shuffle(order)
        for index in order:
            if self.dies_after is not None and len(self.seen) >= self.dies_after:
                raise Killed
            digest = designs[index].digest
            self.seen.append(digest)
            if self.fails(designs[index]):
                yield {index: Failure("CUDA out of memory")}
                continue
            yield {index: {"top1": int(digest, 16) % 1000 / 10, "seconds": time.perf_counter()}}


class DisturbedEvaluations(FakeEvaluations):
    """Evaluations during which something happens once, before the seventh design."""

    def __init__(self, disturb: Callable[[], None]) -> None:
        super().__init__()
        self.disturb = disturb

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        for result in super().__call__(designs, required_top1):
            if len(self.seen) == 7:
                self.disturb()
            yield result


def small_space() -> Space:
    """Return a space of few parameters: a database takes milliseconds for each of them."""
    text = """
    name: small
    blocks:
      mlp_ratio: [1, 2]
      operators:
        lsa: {window_size: [2, 4], pos: [none]}
        dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
    scales: {one: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1, 2]}]}}
    """
    return parse_declaration(text, "small").space("one", 16, 3, 3)


class MemoryStore:
    """A store for what does not turn on the database: keeps records as they are, in the order added."""

    lease = None

    def __init__(self) -> None:
        self.kept: list[TrialRecord] = []

    def add(self, records: list[TrialRecord]) -> None:
        self.kept.extend(records)

    def records(self) -> list[TrialRecord]:
        return sorted(self.kept, key=lambda record: (record.batch, record.index_in_batch))


def run_search(
    where: Path | MemoryStore,
    space: Space,
    evaluate: FakeEvaluations | None = None,
    *,
    trials: int = 16,
    sampler: str = "nsga2",
    goal: Goal = GOALS[2],
    seed: int = 0,
    batch: int = 5,
    initial_designs: list[tuple[str, Architecture]] | None = None,
    url: str | None = None,
    seconds: float | None = None,
) -> list[TrialRecord]:
    """Search into a folder's database, opened anew as a new process would, or into memory."""
    store: Any = where
    if isinstance(where, Path):
        store = Store(url or f"sqlite:///{where}/study.db", "study", goal.objectives, space.choices)
    config = SearchConfig(goal, sampler, batch, trials, seconds, seed)
    counts: list[int] = []
    records = Search(
        space, store, config, evaluate or FakeEvaluations(), analytic_costs, initial_designs or []
    ).run(lambda record, count: counts.append(count))
    assert counts == sorted(counts)
    stored = store.records()
    assert comparable(records) == comparable(stored)  # what is returned is what is kept
    for record in stored:  # Optuna, and so its dashboard, sees the same fixed list in every trial
        assert set(record.params) == {choice.name for choice in space.choices}
        assert space.assemble(record.params) == record.architecture
    return records


def comparable(records: list[TrialRecord]) -> list[tuple[object, ...]]:
    """Return what of every trial must not depend on how a search went."""
    return [
        (
            record.batch,
            record.index_in_batch,
            tuple(sorted(record.params.items())),
            record.architecture.digest,
            tuple(sorted((name, value) for name, value in record.scores.items() if name != "seconds")),
            record.rejected,
            record.origin,
            record.repeat,
        )
        for record in records
    ]


def evaluated_digests(records: list[TrialRecord]) -> list[str]:
    """Return the digests of evaluated designs, in the order of their proposals."""
    return [record.architecture.digest for record in records if record.evaluated]
