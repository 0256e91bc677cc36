"""Limits on what is known of a design only once it is evaluated: it is kept off the front, and samplers learn of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from nas.search.batches import answer_from, with_result
from nas.search.evaluations import Failure
from nas.search.loop import pareto_records
from nas.search.objectives import Goal, ObjectiveDeclaration
from nas.search.samplers import SAMPLERS
from nas.search.trial_store import Store, TrialRecord
from nas.study.settings import Settings
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.errors import RequestError
from search_spaces.space import Space
from tests.helpers.searches import FakeEvaluations, MemoryStore, comparable, run_search, small_space
from tests.nas.search.test_screening import TEXT

FRAGILITY = ObjectiveDeclaration("fragility", "minimize", "points", "network", 1.0)
ROBUST = ObjectiveDeclaration("robust", "maximize", "%", "network", 3.0)
GOAL = Goal(("top1", "macs"), (("fragility", 1.0),), (FRAGILITY,))


def count_kernels(design: Architecture) -> float:
    """Return how many blocks look through a window, which stands for something that is measured."""
    return float(sum(block.operator == "lsa" for stage in design.stages for block in stage.blocks))


class Measured(FakeEvaluations):
    """Evaluations that measure as well."""

    name = "fragility"

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        for found in super().__call__(designs, required_top1):
            yield {
                index: {**scores, self.name: count_kernels(designs[index]), "images": 100}
                if not isinstance(scores, Failure)
                else scores
                for index, scores in found.items()
            }


class MeasuredRobust(Measured):
    name = "robust"


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


@pytest.fixture(scope="module")
def wide() -> Space:
    return parse_declaration(TEXT, "planted").space("one", 16, 3, 3)


def test_a_limit_is_the_largest_or_where_more_is_better_the_smallest_value() -> None:
    goal = Goal(("top1",), (("fragility", 2.0), ("robust", 3.0)), (FRAGILITY, ROBUST))
    assert goal.violations({"fragility": 3.0, "robust": 1.5}) == {"fragility": 0.5, "robust": 0.5}
    assert goal.violations({"fragility": 2.0, "robust": 3.0}) == {"fragility": 0.0, "robust": 0.0}
    assert goal.format_violation({"fragility": 2.0, "robust": 2.5}) == "robust 2.5 < 3"
    assert goal.format_violation({"fragility": 2.5, "robust": 9.0}) == "fragility 2.5 > 2"
    assert goal.format_violation({"fragility": 2.0, "robust": 3.0}) is None
    assert goal.violations({"macs": 1.0}) == {} and goal.format_violation({"macs": 1.0}) is None
    below = Goal(("top1",), (("balance", -3.0),), (ObjectiveDeclaration("balance", "minimize"),))
    assert below.total_violation({"balance": -2.0}) == pytest.approx(1 / 3)  # of negative limits too
    assert below.total_violation({"balance": -4.0}) == 0
    assert (goal.relation("fragility"), goal.relation("robust")) == ("at most", "at least")
    assert goal.measured == ("top1", "fragility", "robust")
    limited = replace(goal, constraints=(*goal.constraints, ("macs", 5.0)))
    assert limited.beforehand.constraints == (("macs", 5.0),)


def test_settings_know_what_is_measured() -> None:
    limited = Settings(objectives="macs", own_objectives=(FRAGILITY,))
    assert limited.needs_supernet and not Settings(objectives="macs").needs_supernet
    with pytest.raises(RequestError, match="and fragility is measured too"):
        Settings(objectives="top1,macs", own_objectives=(FRAGILITY,), racing=0.05)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_designs_beyond_it_are_evaluated_and_on_no_front(sampler: str, wide: Space) -> None:
    rows = run_search(MemoryStore(), wide, Measured(), trials=48, sampler=sampler, goal=GOAL, batch=8)
    beyond = [row for row in rows if row.rejected is not None]
    assert beyond and all(row.evaluated and row.scores["fragility"] > 1 for row in beyond)
    assert {row.rejected for row in beyond} <= {f"fragility {count} > 1" for count in (2, 3, 4)}
    assert sum(row.evaluated for row in rows) == 48
    front = pareto_records(rows, GOAL)
    assert front and all(row.scores["fragility"] <= 1 for row in front)
    if sampler == "random":  # which proposes enough of them for the limit to decide something
        unlimited = pareto_records([replace(row, rejected=None) for row in rows], GOAL)
        assert any(row.scores["fragility"] > 1 for row in unlimited)


def test_the_least_that_is_allowed_is_kept_too(wide: Space) -> None:
    goal = Goal(("top1", "macs"), (("robust", 3.0),), (ROBUST,))
    rows = run_search(MemoryStore(), wide, MeasuredRobust(), trials=32, goal=goal, batch=8)
    assert all((row.rejected is not None) == (row.scores["robust"] < 3) for row in rows)
    front = pareto_records(rows, goal)
    assert front and all(row.scores["robust"] >= 3 for row in front)


def share_within(rows: list[TrialRecord], first: int) -> float:
    """Return the share of evaluated designs within the limit, the first ones left out."""
    return fmean(row.rejected is None for row in [row for row in rows if row.evaluated][first:])


@pytest.mark.parametrize("sampler", ["screened", "nsga2"])
def test_samplers_learn_which_designs_keep_it(sampler: str, wide: Space) -> None:
    """Of random designs 3 in 10 have so few windows; what is learned proposes most within the limit."""
    shares = {
        each: fmean(
            share_within(
                run_search(
                    MemoryStore(), wide, Measured(), trials=64, sampler=each, goal=GOAL, batch=8, seed=seed
                ),
                32,
            )
            for seed in range(2)
        )
        for each in ("random", sampler)
    }
    assert shares["random"] < 0.45 and shares[sampler] > shares["random"] + 0.3, shares


def test_a_design_that_is_proposed_again_is_beyond_it_again(space: Space) -> None:
    design = space.largest
    proposal = TrialRecord(0, 0, space.values(design), design, {"macs": 5.0}, sampler_attrs={"drawn": 1})
    found = with_result(proposal, {"top1": 50.0, "fragility": 3.0, "images": 100}, GOAL)
    assert found.rejected == "fragility 3 > 1" and found.evaluated and not found.complete
    again = answer_from(replace(proposal, index_in_batch=1, sampler_attrs={"drawn": 2}), found)
    assert again.rejected == found.rejected and not again.evaluated and not again.complete
    assert again.sampler_attrs == {"drawn": 2, "constraints:fragility": 2.0}
    assert not again.eligible and not found.eligible and found.measured


@pytest.mark.parametrize("sampler", ["nsga2", "screened"])
def test_a_killed_search_goes_on_with_what_was_learned(sampler: str, wide: Space, tmp_path: Path) -> None:
    whole = run_search(MemoryStore(), wide, Measured(), trials=40, sampler=sampler, goal=GOAL, batch=8)
    first = run_search(MemoryStore(), wide, Measured(), trials=24, sampler=sampler, goal=GOAL, batch=8)
    store = MemoryStore()
    store.add(first)
    assert comparable(
        run_search(store, wide, Measured(), trials=40, sampler=sampler, goal=GOAL, batch=8)
    ) == (comparable(whole))


def test_the_database_and_optuna_know_of_it(space: Space, tmp_path: Path) -> None:
    goal = replace(GOAL, constraints=(("fragility", 0.0),))
    rows = run_search(tmp_path, space, Measured(), trials=12, goal=goal)
    store = Store(f"sqlite:///{tmp_path}/study.db", "study", goal.objectives, space.choices)
    trials = store.study.get_trials(deepcopy=False)
    assert any(row.rejected for row in rows) and any(row.rejected is None for row in rows)
    by_digest = {trial.user_attrs["digest"]: trial for trial in trials}
    for row in rows:
        trial = by_digest[row.architecture.digest]
        assert trial.constraints["fragility"] == row.scores["fragility"]
        assert (trial.state.name == "PRUNED") == (row.rejected is not None)
    best = {trial.user_attrs["digest"] for trial in store.study.best_trials}
    assert best == {row.architecture.digest for row in pareto_records(rows, goal)}
