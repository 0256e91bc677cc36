"""The search: one seed, one result, whatever order results come in and however often it is killed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas.search.loop import analytic_costs, pareto_records
from nas.search.objectives import Goal
from nas.search.pareto import dominates
from nas.search.samplers import SAMPLERS
from nas.search.trial_store import Store, TrialRecord
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.space import Space
from tests.helpers.searches import (
    GOALS,
    FakeEvaluations,
    Killed,
    MemoryStore,
    comparable,
    evaluated_digests,
    run_search,
    small_space,
)


@pytest.fixture(scope="module")
def space() -> Space:
    """A space of few parameters."""
    return small_space()


@pytest.fixture(scope="module")
def reference(space: Space, tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    """The undisturbed search that others are compared with."""
    return run_search(tmp_path_factory.mktemp("reference"), space)


def test_order_of_results_changes_nothing(reference: list[TrialRecord], space: Space, tmp_path: Path) -> None:
    fake = FakeEvaluations(shuffle=1)
    assert comparable(run_search(tmp_path, space, fake)) == comparable(reference)
    assert fake.seen != evaluated_digests(reference)  # the order really was another


def test_memory_searches_as_the_database_does(reference: list[TrialRecord], space: Space) -> None:
    assert comparable(run_search(MemoryStore(), space)) == comparable(reference)


def test_another_seed_searches_elsewhere(reference: list[TrialRecord], space: Space) -> None:
    assert evaluated_digests(run_search(MemoryStore(), space, seed=1)) != evaluated_digests(reference)
    # NumPy's generators take 32 bits; any seed a user may give must work.
    run_search(MemoryStore(), space, seed=2**32 - 1)


@pytest.mark.parametrize("deaths", [[3], [0, 7, 5]])
def test_killed_and_resumed_equals_uninterrupted(
    deaths: list[int], reference: list[TrialRecord], space: Space, tmp_path: Path
) -> None:
    seen: list[str] = []
    for number, after in enumerate(deaths):
        fake = FakeEvaluations(shuffle=number, dies_after=after)
        with pytest.raises(Killed):
            run_search(tmp_path, space, fake)
        seen += fake.seen
    last = FakeEvaluations(shuffle=99)
    assert comparable(run_search(tmp_path, space, last)) == comparable(reference)
    seen += last.seen
    assert len(seen) == len(set(seen)) == 16  # nothing finished was evaluated again


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_design_is_proposed_twice_while_there_are_others(sampler: str, space: Space) -> None:
    rows = run_search(MemoryStore(), space, fake := FakeEvaluations(), trials=60, sampler=sampler)
    assert len(fake.seen) == len(set(fake.seen)) == 60
    assert len(rows) == 60 and not any(row.repeat for row in rows)


def test_what_is_drawn_again_is_the_same_for_any_kill(space: Space, tmp_path: Path) -> None:
    for sampler in ("nsga2", "tpe", "screened"):
        whole = run_search(MemoryStore(), space, trials=50, sampler=sampler)
        store = MemoryStore()
        for dies_after in (7, 11, 13):
            with pytest.raises(Killed):
                run_search(
                    store,
                    space,
                    FakeEvaluations(shuffle=1, dies_after=dies_after),
                    trials=50,
                    sampler=sampler,
                )
        assert comparable(run_search(store, space, trials=50, sampler=sampler)) == comparable(whole)


@pytest.mark.parametrize("trials", [1, 5, 13])
def test_number_of_trials_is_exact(trials: int, space: Space) -> None:
    memory, fake = MemoryStore(), FakeEvaluations()
    rows = run_search(memory, space, fake, trials=trials)
    assert len(fake.seen) == len(evaluated_digests(rows)) == trials
    assert run_search(memory, space, again := FakeEvaluations(), trials=trials) and not again.seen


def test_more_trials_continue(reference: list[TrialRecord], space: Space, tmp_path: Path) -> None:
    first, more, less = FakeEvaluations(), FakeEvaluations(), FakeEvaluations()
    run_search(tmp_path, space, first, trials=7)
    assert comparable(run_search(tmp_path, space, more)) == comparable(reference)
    assert len(first.seen) == 7 and len(more.seen) == 9
    # Fewer again: nothing is evaluated and nothing is lost.
    assert (
        evaluated_digests(run_search(tmp_path, space, less, trials=2)) == evaluated_digests(reference)
        and not less.seen
    )


def test_time_stops_the_search(space: Space) -> None:
    assert run_search(MemoryStore(), space, fake := FakeEvaluations(), seconds=0.0) == [] and not fake.seen


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_limits_reject_before_evaluation(sampler: str, space: Space) -> None:
    costs = sorted(analytic_costs(space.sample(Random(i)))["macs"] for i in range(50))
    limit = costs[25]
    goal = Goal(("top1", "macs"), (("macs", limit),))
    rows = run_search(MemoryStore(), space, fake := FakeEvaluations(), goal=goal, sampler=sampler, trials=8)
    rejected = [row for row in rows if row.rejected]
    assert rejected and all(row.scores["macs"] > limit and "top1" not in row.scores for row in rejected)
    assert all("macs" in str(row.rejected) and not row.evaluated for row in rejected)
    assert not {row.architecture.digest for row in rejected} & set(fake.seen)
    assert len(fake.seen) == 8
    assert all(row.scores["macs"] <= limit for row in pareto_records(rows, goal))


def test_rejected_trials_are_stored_as_pruned(space: Space, tmp_path: Path) -> None:
    goal = Goal(("top1", "macs"), (("macs", analytic_costs(space.largest)["macs"] * 0.7),))
    rows = run_search(tmp_path, space, goal=goal, trials=8)
    store = Store(f"sqlite:///{tmp_path}/study.db", "study", goal.objectives, space.choices)
    states = Counter(trial.state.name for trial in store.study.get_trials())
    rejected = sum(row.rejected is not None for row in rows)
    assert rejected and states == {"PRUNED": rejected, "COMPLETE": len(rows) - rejected}


def test_limit_that_nothing_meets_ends(space: Space) -> None:
    goal = Goal(("top1", "macs"), (("params", 1.0),))
    assert run_search(MemoryStore(), space, fake := FakeEvaluations(), goal=goal) == [] and not fake.seen


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_starts_come_first(sampler: str, space: Space) -> None:
    starts = [("small one", space.smallest), ("large one", space.largest), *analogues(space)]
    starts = list({design.digest: (name, design) for name, design in starts}.values())
    rows = run_search(MemoryStore(), space, initial_designs=starts, sampler=sampler, trials=25)
    head = rows[: len(starts)]
    assert [row.architecture for row in head] == [design for _, design in starts]
    assert [row.origin for row in head] == [name for name, _ in starts]
    assert all(row.origin == "sampled" for row in rows if row.batch > 0)


def test_more_starts_than_a_batch_holds(space: Space) -> None:
    designs = {(design := space.sample(Random(i))).digest: design for i in range(12)}
    starts = [(f"start{i}", design) for i, design in enumerate(designs.values())]
    rows = run_search(MemoryStore(), space, initial_designs=starts, batch=4, trials=2 * len(starts))
    assert evaluated_digests(rows)[: len(starts)] == [design.digest for _, design in starts]
    assert (
        sum(row.batch == 0 for row in rows) == len(starts) + (len(starts) + 1) // 2
    )  # a third of it are others


def distinct_starts(space: Space, count: int) -> list[tuple[str, Architecture]]:
    designs = {(design := space.sample(Random(i))).digest: design for i in range(2 * count)}
    return [(f"start{i}", design) for i, design in enumerate(list(designs.values())[:count])]


def test_where_a_search_ends_in_its_first_batch_a_third_of_it_are_starts(space: Space) -> None:
    starts = distinct_starts(space, 6)
    rows = run_search(store := MemoryStore(), space, initial_designs=starts, batch=14, trials=9)
    assert [row.origin for row in rows if row.evaluated and row.origin != "sampled"] == [
        "start0",
        "start1",
        "start2",
    ]
    assert len(evaluated_digests(rows)) == 9
    # One that goes on ends as one that was asked for as much at once.
    longer = run_search(store, space, initial_designs=starts, batch=14, trials=20)
    at_once = run_search(MemoryStore(), space, initial_designs=starts, batch=14, trials=20)
    assert comparable(longer) == comparable(at_once)


def test_a_third_is_counted_over_interruptions(space: Space) -> None:
    starts, store = distinct_starts(space, 6), MemoryStore()
    with pytest.raises(Killed):
        run_search(store, space, FakeEvaluations(dies_after=2), initial_designs=starts, batch=14, trials=9)
    again = run_search(store, space, initial_designs=starts, batch=14, trials=9)
    whole = run_search(MemoryStore(), space, initial_designs=starts, batch=14, trials=9)
    assert comparable(again) == comparable(whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_that_began_with_fewer_designs_goes_on(sampler: str, space: Space) -> None:
    """Of an earlier version, which began with the analogues alone."""
    few, many = distinct_starts(space, 3), distinct_starts(space, 9)[::-1]
    store, before = MemoryStore(), MemoryStore()
    for each in (store, before):
        run_search(each, space, initial_designs=few, batch=4, trials=10, sampler=sampler)
    resumed = run_search(store, space, initial_designs=many, batch=4, trials=16, sampler=sampler)
    as_before = run_search(before, space, initial_designs=few, batch=4, trials=16, sampler=sampler)
    assert comparable(resumed) == comparable(as_before)
    # One that was killed in its first batch takes the new ones where none is stored.
    killed = MemoryStore()
    with pytest.raises(Killed):
        run_search(killed, space, FakeEvaluations(dies_after=2), initial_designs=few, batch=4, trials=10)
    rows = run_search(killed, space, initial_designs=many, batch=4, trials=16)
    assert len(evaluated_digests(rows)) == len(set(evaluated_digests(rows))) == 16


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("trials", [72, 73, 1000])
def test_a_small_space_is_listed(trials: int, sampler: str, space: Space) -> None:
    starts = [("large one", space.largest)]
    rows = run_search(
        MemoryStore(),
        space,
        fake := FakeEvaluations(),
        trials=trials,
        sampler=sampler,
        batch=20,
        initial_designs=starts,
    )
    assert len(rows) == len(fake.seen) == len(set(fake.seen)) == space.size == 72
    assert all(row.evaluated for row in rows) and rows[0].origin == "large one"
    orders = [
        evaluated_digests(run_search(MemoryStore(), space, trials=trials, seed=seed)) for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])


def test_a_listed_search_goes_on_where_it_was_killed(space: Space, tmp_path: Path) -> None:
    whole, seen = run_search(MemoryStore(), space, trials=100), list[str]()
    for after in (3, 0, 31):
        with pytest.raises(Killed):
            run_search(tmp_path, space, fake := FakeEvaluations(shuffle=after, dies_after=after), trials=100)
        seen += fake.seen
    assert comparable(run_search(tmp_path, space, last := FakeEvaluations(), trials=100)) == comparable(whole)
    assert len({*seen, *last.seen}) == len(seen) + len(last.seen) == 72
    assert comparable(run_search(tmp_path, space, idle := FakeEvaluations(), trials=100)) == comparable(whole)
    assert not idle.seen


def test_what_a_sampled_search_left_is_listed_after_it(space: Space, tmp_path: Path) -> None:
    sampled = run_search(tmp_path, space, first := FakeEvaluations(), trials=13)
    with pytest.raises(Killed):
        run_search(tmp_path, space, second := FakeEvaluations(dies_after=8), trials=80)
    rows = run_search(tmp_path, space, third := FakeEvaluations(), trials=80)
    seen = [*first.seen, *second.seen, *third.seen]
    assert len(seen) == len(set(seen)) == len(evaluated_digests(rows)) == 72
    assert comparable(rows)[: len(sampled)] == comparable(sampled)
    # Fewer again: nothing is evaluated and nothing is lost.
    assert comparable(run_search(tmp_path, space, fewer := FakeEvaluations(), trials=5)) == comparable(rows)
    assert not fewer.seen


def test_a_space_of_one_design(space: Space, tmp_path: Path) -> None:
    stage = replace(space.stages[0], depths=(1,), mlp_ratios=(1,))
    dwconv = next(choice for choice in stage.operators if choice.name == "dwconv")
    knobs = (("kernel_size", (3,)), ("dynamic", ("none",)))
    one = replace(space, stages=(replace(stage, operators=(replace(dwconv, knobs=knobs),)),))
    assert one.size == 1
    for sampler in SAMPLERS:
        rows = run_search(MemoryStore(), one, fake := FakeEvaluations(), sampler=sampler)
        assert [row.architecture for row in rows] == [one.smallest] and len(fake.seen) == 1
    assert len(run_search(tmp_path, one, trials=256)) == len(run_search(tmp_path, one, trials=256)) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_and_objectives(sampler: str, count: int, space: Space) -> None:
    goal, memory = GOALS[count], MemoryStore()
    with pytest.raises(Killed):
        run_search(memory, space, FakeEvaluations(shuffle=0, dies_after=13), sampler=sampler, goal=goal)
    rows = run_search(memory, space, FakeEvaluations(), sampler=sampler, goal=goal)
    assert comparable(rows) == comparable(run_search(MemoryStore(), space, sampler=sampler, goal=goal))
    front = pareto_records(rows, goal)
    values = [goal.values(row.scores) for row in rows if row.evaluated]
    assert front and not any(
        dominates(other, goal.values(row.scores), goal.directions) for row in front for other in values
    )
    firsts = [row.scores["top1"] for row in front]
    assert firsts == sorted(firsts, reverse=True)
    assert len(front) == 1 or count > 1
