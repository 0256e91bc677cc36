"""A design that cannot be evaluated is a failed trial, and the search goes on without it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nas.search.evaluations import MOST_FAILURES_IN_A_ROW, evaluate_nothing
from nas.search.loop import Search, SearchConfig, analytic_costs, pareto_records
from nas.search.objectives import Goal
from nas.search.trial_store import Store
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from tests.helpers.searches import FakeEvaluations, Killed, MemoryStore, comparable, run_search, small_space


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


def is_too_large(design: Architecture) -> bool:
    """Say of about a quarter of all designs that they do not fit into memory."""
    return int(design.digest, 16) % 4 == 0


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_the_search_goes_on_without_designs_that_fail(sampler: str, space: Space, tmp_path: Path) -> None:
    fake = FakeEvaluations(fails=is_too_large)
    rows = run_search(tmp_path, space, fake, sampler=sampler, trials=30)
    failed = [row for row in rows if row.failed is not None]
    assert failed and all(row.failed == "CUDA out of memory" and "top1" not in row.scores for row in failed)
    assert {row.architecture.digest for row in failed} == {
        row.architecture.digest for row in rows if is_too_large(row.architecture)
    }
    assert sum(row.evaluated for row in rows) == 30 and len(fake.seen) == len(set(fake.seen))
    assert not any(row.failed for row in pareto_records(rows, Goal()))
    trials = Store(
        f"sqlite:///{tmp_path}/study.db", "study", ("top1", "macs"), space.choices
    ).study.get_trials()
    states = Counter(trial.state.name for trial in trials)
    assert states == {"COMPLETE": len(rows) - len(failed), "FAIL": len(failed)}
    reasons = {trial.user_attrs.get("failed") for trial in trials if trial.state.name == "FAIL"}
    assert reasons == {"CUDA out of memory"}


@pytest.mark.parametrize("trials", [30, 100])
def test_a_failed_design_is_not_tried_again_on_resumption(trials: int, space: Space, tmp_path: Path) -> None:
    whole = run_search(MemoryStore(), space, FakeEvaluations(fails=is_too_large), trials=trials)
    first = FakeEvaluations(shuffle=1, dies_after=17, fails=is_too_large)
    with pytest.raises(Killed):
        run_search(tmp_path, space, first, trials=trials)
    second = FakeEvaluations(fails=is_too_large)
    assert comparable(run_search(tmp_path, space, second, trials=trials)) == comparable(whole)
    assert not set(first.seen) & set(second.seen)


def test_a_failed_design_that_is_proposed_again_is_not_evaluated_again(space: Space) -> None:
    # One trial fewer than there are designs: none is listed, and in the end nothing new is left to propose.
    rows = run_search(MemoryStore(), space, fake := FakeEvaluations(fails=is_too_large), trials=71)
    assert len(fake.seen) == len(set(fake.seen)) == space.size
    again = [row for row in rows if row.repeat and row.failed is not None]
    assert again and not any(row.evaluated for row in again)


def test_a_search_in_which_all_fail_stops_and_can_be_run_again(space: Space, tmp_path: Path) -> None:
    broken = FakeEvaluations(fails=lambda design: True)
    with pytest.raises(
        WorkError, match=r"^10 designs in a row .* because CUDA out of memory; .*study's log"
    ) as error:
        run_search(tmp_path, space, broken)
    assert error.value.exit_code == 1 and len(broken.seen) == MOST_FAILURES_IN_A_ROW
    rows = run_search(tmp_path, space, mended := FakeEvaluations())
    assert sum(row.evaluated for row in rows) == 16
    assert not set(mended.seen) & set(broken.seen)


def test_failures_among_successes_do_not_stop_a_search(space: Space) -> None:
    rows = run_search(MemoryStore(), space, fake := FakeEvaluations(fails=is_too_large), trials=1000)
    failed = sum(row.failed is not None for row in rows)
    assert failed + sum(row.evaluated for row in rows) == len(rows) == len(fake.seen) == space.size
    assert failed > MOST_FAILURES_IN_A_ROW


def test_analytic_objectives_need_no_evaluation(space: Space) -> None:
    goal = Goal(("macs", "params"))
    config = SearchConfig(goal, batch_size=8, trials=40)
    store = MemoryStore()
    rows = Search(space, store, config, evaluate_nothing, analytic_costs).run(lambda row, n: None)  # type: ignore[arg-type]
    assert sum(row.evaluated for row in rows) == 40
    assert all(set(row.scores) == {"macs", "params", "activation_bytes"} for row in rows)
    assert pareto_records(rows, goal)
