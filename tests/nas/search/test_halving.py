"""Who is trained alone and who goes on, by hand-made numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas.search.halving import Rung, choose_spread, main_operators, plan_rungs, select_survivors
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord
from search_spaces.declaration import load_declaration
from search_spaces.published import published
from search_spaces.space import Space
from tests.helpers.searches import GOALS, small_space


@pytest.mark.parametrize(
    ("candidates", "keep", "epochs", "rungs"),
    [
        (8, 2, 16, [(4, 4), (8, 2)]),
        (16, 2, 20, [(5, 8), (10, 2)]),
        (7, 2, 16, [(4, 4), (8, 2)]),
        (3, 2, 16, [(4, 2)]),  # half of three is two already
        (4, 1, 3, [(1, 2), (2, 1)]),
        (4, 1, 2, [(1, 1)]),  # a quarter and half of two epochs are the first
        (4, 1, 1, []),
        (2, 2, 16, []),
        (2, 5, 16, []),
    ],
)
def test_half_go_on_at_a_quarter_and_those_kept_at_half(
    candidates: int, keep: int, epochs: int, rungs: list[tuple[int, int]]
) -> None:
    assert plan_rungs(candidates, keep, epochs) == [Rung(*each) for each in rungs]


ACCURACIES = {"a": 90.0, "b": 88.0, "c": 80.0, "d": 79.0, "e": 60.0, "f": 89.0}
COSTS = {"a": 10.0, "b": 5.0, "c": 2.0, "d": 4.0, "e": 1.0, "f": 9.5}


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        # a, b, c, e and f are the front. Shares of the ranges of 30 points and 9 units between neighbours:
        # c (88-60)/30 + (5-1)/9 = 1.38, b (89-80)/30 + (9.5-2)/9 = 1.13, f (90-88)/30 + (10-5)/9 = 0.62.
        (1, ["a"]),
        (2, ["a", "e"]),
        (3, ["a", "c", "e"]),
        (4, ["a", "b", "c", "e"]),
        (5, ["a", "f", "b", "c", "e"]),
        (6, ["a", "f", "b", "c", "d", "e"]),
    ],
)
def test_a_front_survives_and_the_most_accurate_always(keep: int, left: list[str]) -> None:
    assert select_survivors(ACCURACIES, COSTS, keep) == left
    shuffled = {digest: ACCURACIES[digest] for digest in "dfbeca"}
    assert select_survivors(shuffled, COSTS, keep) == left


def test_accuracy_alone_decides_where_nothing_has_a_cost() -> None:
    assert select_survivors(ACCURACIES, None, 3) == ["a", "f", "b"]


@pytest.fixture(scope="module")
def space() -> Space:
    return small_space()


def trials_of(
    space: Space, rows: list[tuple[float, float]], origins: dict[int, str] | None = None
) -> list[TrialRecord]:
    designs = list(space.enumerate())
    return [
        TrialRecord(0, index, {}, designs[index], {"top1": top1, "macs": macs, "params": 1000 - macs},
                    origin=(origins or {}).get(index, "sampled"))
        for index, (top1, macs) in enumerate(rows)
    ]  # fmt: skip


def indices(trials: list[TrialRecord], goal: Goal, count: int) -> list[int]:
    order = {trial.architecture.digest: trial.index_in_batch for trial in trials}
    return [order[each.digest] for each in choose_spread(trials, goal, count)]


def test_candidates_are_the_front_s_best_a_plain_start_the_cheapest_and_the_best_of_strata(
    space: Space,
) -> None:
    """The supernet likes the middle; the plain starts are the cheap end and the dear one."""
    rows = [
        (50, 10),
        (60, 20),
        (70, 30),
        (90, 40),
        (80, 50),
        (65, 60),
        (66, 70),
        (40, 80),
        (55, 90),
        (54, 100),
    ]
    trials = trials_of(space, rows, {0: "smallest", 9: "gsa only, largest", 4: "swin-like"})
    # 3 is the front's best, 9 the better plain start, 0 the cheapest; of 1 2 4 5 6 7 8 in three parts 2, 4 and 6
    # have the highest accuracies: [1, 2], [4, 5, 6] (7 * 2/3 = 4.67 is 5), [7, 8].
    assert indices(trials, GOALS[2], 6) == [9, 8, 4, 3, 2, 0]
    assert indices(trials, GOALS[2], 4) == [9, 4, 3, 0]
    assert indices(trials, GOALS[2], 2) == [9, 3] and indices(trials, GOALS[2], 1) == [3]
    assert indices(trials, GOALS[2], 30) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    why = {each.digest: (each.why, each.on_front) for each in choose_spread(trials, GOALS[2], 6)}
    digest = [trial.architecture.digest for trial in trials]
    assert why[digest[3]] == ("front's best", True)
    assert why[digest[9]] == ("best plain start", False)
    assert why[digest[0]] == ("cheapest", True)
    assert why[digest[4]] == ("stratum 2 of 3", False)


def test_the_cost_is_the_goal_s_own_and_stopped_designs_are_none(space: Space) -> None:
    rows = [(50, 10), (60, 20), (70, 30), (90, 40)]
    trials = trials_of(space, rows)
    assert indices(trials, Goal(("params", "top1")), 4) == [0, 1, 2, 3]  # params fall as MACs rise
    stopped = [*trials[:3], replace(trials[3], stopped_after=100)]
    assert indices(stopped, GOALS[2], 4) == [2, 1, 0]


def test_the_loss_decides_where_the_goal_names_it_and_better_knowledge_always(space: Space) -> None:
    losses = [3.0, 2.0, 1.0, 4.0, 5.0, 6.0]
    trials = [
        replace(trial, scores={**trial.scores, "loss": loss})
        for trial, loss in zip(trials_of(space, [(50, 10 * n) for n in range(1, 7)]), losses, strict=True)
    ]
    goal = Goal(("loss", "macs"))
    # 2 has the least loss and is the front's best, 0 the cheapest; of 1 3 4 5 in two parts 1 and 4.
    assert indices(trials, goal, 4) == [4, 2, 1, 0]
    assert [each.merit for each in choose_spread(trials, goal, 4)] == [-5.0, -1.0, -2.0, -3.0]
    known = {trial.architecture.digest: float(trial.index_in_batch) for trial in trials}
    spread = choose_spread(trials, goal, 4, known)
    # The front is that of losses, of which 2 is now the best too; of each part the last.
    assert [each.merit for each in spread] == [5.0, 3.0, 2.0, 0.0]


def test_without_a_cost_among_the_objectives_operators_take_turns() -> None:
    declaration = load_declaration(Path(__file__).parents[3] / "studies/attention_table/space.yaml")
    wide, rng = declaration.space(None, 16, 3, 10), Random(0)
    trials = [
        TrialRecord(0, n, {}, wide.sample(rng), {"top1": 90.0 - n, "macs": 10.0 + n},
                    origin="smallest" if n == 39 else "sampled")
        for n in range(40)
    ]  # fmt: skip
    kinds = [main_operators(trial) for trial in trials]
    assert len(set(kinds)) > 2
    goal = Goal(("top1",))
    count = len(set(kinds)) + 3
    spread = choose_spread(trials, goal, count)
    chosen = {each.trial.index_in_batch for each in spread}
    # The best, the plain start, then the best of each kind of what is left, then the second best of the first kind.
    others = range(1, 39)
    firsts = {kind: next(n for n in others if kinds[n] == kind) for kind in {kinds[n] for n in others}}
    assert {0, 39, *firsts.values()} <= chosen and len(chosen) == count
    order = sorted(firsts.values())
    later = ([n for n in others if kinds[n] == kinds[first] and n > first] for first in order)
    seconds = sorted(of_kind[0] for of_kind in later if of_kind)
    assert chosen - {0, 39, *firsts.values()} == set(seconds[: count - 2 - len(firsts)])
    why = {each.trial.index_in_batch: each.why for each in spread}
    assert (why[0], why[39]) == ("front's best", "best plain start")
    assert why[order[0]] == f"best of {' then '.join(kinds[order[0]])}"


def test_the_main_operator_of_a_stage_is_that_of_most_blocks() -> None:
    design = published("twins_svt_small")
    trial = TrialRecord(0, 0, {}, design, {})
    # Twins-SVT alternates LSA and GSA, from LSA on; without its first block the last stage has two of GSA.
    assert main_operators(trial) == ("lsa", "lsa", "lsa", "lsa")
    *stages, last = design.stages
    fewer = replace(design, stages=(*stages, replace(last, blocks=last.blocks[1:])))
    assert main_operators(replace(trial, architecture=fewer)) == ("lsa", "lsa", "lsa", "gsa")


def test_one_that_is_chosen_twice_leaves_its_place_to_a_stratum(space: Space) -> None:
    trials = trials_of(space, [(90, 10), (60, 20), (70, 30), (50, 40)], {0: "smallest"})
    # It is the front's best, the best start and the cheapest; the others are [20, 30] and [40] by cost.
    assert indices(trials, GOALS[2], 3) == [3, 2, 0]
