"""What limits leave of a space: nothing, said exactly; one design; many, and a search finds them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from nas.search.analytic import AnalyticScores
from nas.search.limits import Limits
from nas.search.loop import Search, SearchConfig
from nas.search.objectives import Goal
from nas.search.samplers import SAMPLERS, Nsga2Proposer
from nas.search.trial_store import TrialRecord
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.errors import RequestError
from search_spaces.named_designs import SMALLEST, initial_designs
from search_spaces.space import Space
from tests.golden.values import made_up_top1, nano
from tests.helpers.latency import FORKED, make_table
from tests.helpers.searches import FakeEvaluations, Killed, MemoryStore, comparable, run_search, small_space

NANO = nano()
SCORES = AnalyticScores()
LEAST_MACS = 1_596_448


def limits(space: Space, scores: AnalyticScores = SCORES, **limited: float) -> Limits:
    return Limits(space, Goal(("top1", "macs"), tuple(limited.items())), scores)


@pytest.fixture(scope="module")
def forked() -> Space:
    """A space of 1,350 designs with three stems and three downsamplings."""
    text = FORKED.replace("depth: [1, 3]", "depth: 1").replace("depth: 2", "depth: 1")
    return parse_declaration(text, "forked").space()


def search(
    space: Space, trials: int = 256, sampler: str = "nsga2", seed: int = 0, batch: int = 32, **limited: float
) -> list[TrialRecord]:
    """Search with made-up accuracies, from the published designs on."""

    def evaluate(
        designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        yield {index: {"top1": made_up_top1(design)} for index, design in enumerate(designs)}

    goal = Goal(("top1", "macs"), tuple(limited.items()))
    config = SearchConfig(goal, sampler, batch, trials, None, seed)
    store = MemoryStore()
    rows = Search(space, store, config, evaluate, SCORES, analogues(space)).run(lambda record, done: None)  # type: ignore[arg-type]
    evaluated = [row for row in rows if row.evaluated]
    assert all(limits(space, **limited).keeps(row.architecture) for row in evaluated)
    assert not any(limits(space, **limited).keeps(row.architecture) for row in rows if row.rejected)
    for _, batch_rows in itertools.groupby(rows, key=lambda row: row.batch):
        digests = [row.architecture.digest for row in batch_rows]
        assert len(digests) == len(set(digests))
    return rows


def test_one_below_the_smallest_is_refused_with_the_smallest() -> None:
    limits(NANO, macs=LEAST_MACS).require_possible()
    with pytest.raises(
        RequestError,
        match=rf"--max-macs: no design .* keeps 1596447; the smallest has macs 1596448 \({NANO.smallest.digest}",
    ) as error:
        limits(NANO, macs=LEAST_MACS - 1).require_possible()
    assert error.value.exit_code == 2
    with pytest.raises(RequestError, match="--max-params"):
        limits(NANO, macs=1e12, params=1).require_possible()
    limits(NANO, macs=1e30, params=1e30).require_possible()


def test_smallest_by_each_cost(forked: Space) -> None:
    scores, designs = AnalyticScores(make_table(forked)), list(forked.enumerate())
    for name in ("macs", "params", "latency_ms"):
        least = min(scores(design)[name] for design in designs)
        found = limits(forked, scores, **{name: least})
        assert scores(found.smallest(name))[name] == least
        found.require_possible()  # a limit that is exactly the smallest value
        assert found.list_designs(10_000) and found.nearest is not None
        below = least - 1 if name != "latency_ms" else least * (1 - 1e-6)
        with pytest.raises(RequestError, match=rf"--max-{name.replace('_', '-')}"):
            limits(forked, scores, **{name: below}).require_possible()


def test_limits_together_are_decided_as_all_designs_decide_them(forked: Space) -> None:
    scores, rng = AnalyticScores(make_table(forked)), Random(0)
    known = [scores(design) for design in forked.enumerate()]
    names, refused = ("macs", "params", "latency_ms"), 0
    least = {name: min(one[name] for one in known) for name in names}
    for _ in range(40):
        limited = {name: least[name] * rng.choice((1.0, 1.02, 1.1, 1.3)) for name in names}
        keeping = sum(all(one[name] <= limit for name, limit in limited.items()) for one in known)
        asked = limits(forked, scores, **limited)
        listed = asked.list_designs(10_000)
        assert listed is not None and len(listed) == keeping and (asked.nearest is None) == (keeping == 0)
        if keeping:
            asked.require_possible()
            continue
        refused += 1
        with pytest.raises(RequestError, match="together, though each alone can be kept"):
            asked.require_possible()
    assert 0 < refused < 40


def test_initial_designs_keep_the_limits() -> None:
    assert limits(NANO).initial_designs(analogues(NANO)) == analogues(NANO)
    for factor in (1.0, 1.05, 1.5, 3.0):
        asked = limits(NANO, macs=LEAST_MACS * factor, params=80_000.0)
        initial = asked.initial_designs(analogues(NANO))
        assert all(asked.keeps(design) and NANO.contains(design) for _, design in initial)
        names = [name for name, _ in initial]
        assert SMALLEST in names
        assert all(name in names or f"{name}, shrunk" in names for name, _ in analogues(NANO))


def test_a_shrunk_design_of_one_operator_keeps_it() -> None:
    asked = limits(NANO, macs=1.4 * LEAST_MACS)
    begun = asked.initial_designs(initial_designs(NANO))
    alone = {name: design for name, design in begun if " only, " in name}
    for operator in ("cswin", "dwconv", "gsa", "lsa"):
        name = f"{operator} only, largest, shrunk"
        for design in [alone[name], alone.get(f"{operator} only, smallest", alone[name])]:
            assert {block.operator for stage in design.stages for block in stage.blocks} == {operator}
            assert asked.keeps(design) and NANO.contains(design)
    # 1.84M MACs hold nothing but depth-wise convolution and GSA alone; what cannot be called so is left out.
    tight = limits(NANO, macs=1_840_000).initial_designs(initial_designs(NANO))
    assert {name.split(" only")[0] for name, _ in tight if " only, " in name} == {"dwconv", "gsa"}


@pytest.mark.parametrize("seed", range(2))
def test_a_limit_near_the_smallest_design_leaves_a_whole_search(seed: int) -> None:
    rows = search(NANO, seed=seed, macs=1.05 * LEAST_MACS)
    assert sum(row.evaluated for row in rows) == 256
    assert len(rows) < 400  # Optuna's NSGA-II finds 50 in 800
    assert any(row.rejected for row in rows)  # what exceeds the limit is kept, and bred from by its excess


@pytest.mark.parametrize("sampler", [pytest.param("tpe", marks=pytest.mark.slow), "screened", "random"])
def test_other_samplers_find_designs_within_limits_too(sampler: str) -> None:
    rows = search(NANO, 48, sampler, batch=16, macs=1.05 * LEAST_MACS)
    assert sum(row.evaluated for row in rows) == 48 and len(rows) <= 112


def test_the_smallest_value_itself_as_limit_leaves_its_designs() -> None:
    rows = search(NANO, macs=LEAST_MACS)
    assert len(rows) == len({row.architecture.digest for row in rows}) == 8
    assert all(row.evaluated and row.scores["macs"] == LEAST_MACS for row in rows)


def test_a_limit_that_excludes_nothing_changes_nothing() -> None:
    free = search(NANO, 40)
    limited = search(NANO, 40, macs=1e15)
    names = {row.architecture.digest for row in free}
    # The same but for the smallest designs, with which a search with limits begins.
    assert (
        not any(row.rejected for row in limited) and len(names & {r.architecture.digest for r in limited}) > 5
    )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_batch_of_one_is_not_lost_near_a_limit(sampler: str) -> None:
    rows = search(NANO, 20, sampler, batch=1, macs=1.05 * LEAST_MACS)
    assert sum(row.evaluated for row in rows) == 20


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_killed_and_resumed_under_a_limit_equals_uninterrupted(sampler: str) -> None:
    space = small_space()
    sizes = sorted(SCORES(design)["macs"] for design in space.enumerate())
    goal = Goal(("top1", "macs"), (("macs", sizes[len(sizes) // 2]),))
    whole = run_search(MemoryStore(), space, goal=goal, sampler=sampler, trials=24)
    assert any(row.rejected for row in whole)
    store = MemoryStore()
    for dies_after in (7, 9):
        with pytest.raises(Killed):
            fake = FakeEvaluations(shuffle=1, dies_after=dies_after)
            run_search(store, space, fake, goal=goal, sampler=sampler, trials=24)
    rows = run_search(store, space, goal=goal, sampler=sampler, trials=24)
    assert comparable(rows) == comparable(whole)


def test_constraints_of_earlier_versions_are_taken_as_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    space, store = small_space(), MemoryStore()
    limit = sorted(SCORES(design)["macs"] for design in space.enumerate())[36]
    goal = Goal(("top1", "macs"), (("macs", limit),))
    run_search(store, space, goal=goal, trials=12)
    # Version 0.1.0 noted by how many MACs a design exceeds the limit.
    store.kept = [
        replace(row, sampler_attrs={**row.sampler_attrs, "constraints:macs": row.scores["macs"] - limit})
        for row in store.kept
    ]
    told: list[float] = []
    readmit = Nsga2Proposer.readmit

    def listen(self: Any, params: Any, attrs: Any) -> Any:
        told.extend(one["constraints:macs"] for one in attrs)
        return readmit(self, params, attrs)

    monkeypatch.setattr(Nsga2Proposer, "readmit", listen)
    run_search(store, space, goal=goal, trials=13)
    assert told == [(row.scores["macs"] - limit) / limit for row in store.records()[: len(told)]] and told
