"""Our NSGA-II against its definition, and trial by trial against Optuna's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.trial import TrialState

from nas.search.nsga2 import (
    Individual,
    Nsga2Sampler,
    constrained_dominates,
    rank_population,
    select_parents,
    sort_by_crowding,
)

UP, DOWN = "maximize", "minimize"
INF = math.inf
POPULATION = 6
SPACE = {f"x{index}": CategoricalDistribution(tuple(range(1 + index % 4))) for index in range(9)}


class OptunasNsga2(NSGAIISampler):
    """Optuna's NSGA-II, with the search space given so that it takes the parameters in their order."""

    def infer_relative_search_space(self, *given: object) -> dict[str, BaseDistribution]:
        return dict(SPACE)


def objectives(params: dict[str, int], count: int, rng: Random) -> list[float]:
    """Return made-up objectives of few distinct values, infinite ones among them."""
    total = sum(value * (index + 1) for index, value in enumerate(params.values()))
    values = [float(total % 7), float(-total % 5), float(rng.randrange(4))][:count]
    return [rng.choice((INF, -INF)) if rng.random() < 0.05 else value for value in values]


def run_study(
    create: Callable[[], BaseSampler], directions: Sequence[str], *, constrained: bool, seed: int
) -> list[dict[str, int]]:
    """Return the parameters of 90 trials that are asked for in groups, finished in any order, some never."""
    study, rng = optuna.create_study(sampler=create(), directions=directions), Random(seed)
    study.enqueue_trial({name: 0 for name in SPACE})
    running: list[optuna.Trial] = []
    for _ in range(30):
        running += [study.ask(dict(SPACE)) for _ in range(3)]
        rng.shuffle(running)
        for trial in [running.pop() for _ in range(min(len(running), rng.randrange(2, 5)))]:
            if constrained:
                trial.set_constraint("first", rng.choice((-1.0, -1.0, 0.0, 1.0, 2.0)))
                trial.set_constraint("second", rng.choice((-1.0, 0.5)))
            if rng.random() < 0.2:
                study.tell(trial, state=rng.choice((TrialState.PRUNED, TrialState.FAIL)))
            else:
                study.tell(trial, objectives(trial.params, len(directions), rng))
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("directions", [[UP], [UP, DOWN], [DOWN, DOWN, UP]])
def test_trials_are_those_of_optunas_nsga2(directions: list[str], constrained: bool, seed: int) -> None:
    ours = run_study(
        lambda: Nsga2Sampler(SPACE, POPULATION, seed), directions, constrained=constrained, seed=seed
    )
    theirs = run_study(
        lambda: OptunasNsga2(population_size=POPULATION, seed=seed),
        directions,
        constrained=constrained,
        seed=seed,
    )
    assert ours == theirs and len(ours) == 90
    assert len({tuple(params.values()) for params in ours}) > 20


def individual(number: int, *values: float, violation: float = 0.0) -> Individual:
    return Individual(number, {}, values, violation)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (individual(0, 2, 1), individual(1, 1, 2), True),
        (individual(0, 2, 1), individual(1, 2, 1), False),
        (individual(0, 2, 3), individual(1, 1, 2), False),
        # feasible before infeasible, whatever the objectives; then the smaller violation
        (individual(0, 0, 9), individual(1, 9, 0, violation=0.1), True),
        (individual(0, 9, 0, violation=0.1), individual(1, 0, 9), False),
        (individual(0, 0, 9, violation=0.1), individual(1, 9, 0, violation=0.2), True),
        (individual(0, 9, 0, violation=0.2), individual(1, 0, 9, violation=0.2), False),
    ],
)
def test_constrained_domination(one: Individual, other: Individual, expected: bool) -> None:
    assert constrained_dominates(one, other, [UP, DOWN]) is expected


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.0, 1.0, 2.0])), max_size=25
    )
)
def test_a_front_is_what_none_of_the_rest_dominates(rows: list[tuple[int, int, float]]) -> None:
    directions = [UP, DOWN]
    rest = [individual(i, a, b, violation=v) for i, (a, b, v) in enumerate(rows)]
    for front in rank_population(rest, directions):
        assert front == [
            one for one in rest if not any(constrained_dominates(other, one, directions) for other in rest)
        ]
        rest = [one for one in rest if one not in front]
    assert rest == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # ends first (of two alike the one with the larger last objective), then 0.9 + 0.8 before 0.2 + 0.3
        ([(0, 10), (1, 8), (2, 7), (10, 0)], [0, 3, 2, 1]),
        ([(1,), (1,), (1,)], [2, 1, 0]),  # one value for all: no distance, the order is reversed
        ([(3,), (1,), (2,)], [0, 1, 2]),
        ([(-INF,), (0,), (1,), (5,), (INF,)], [4, 3, 1, 0, 2]),
    ],
)
def test_the_least_crowded_come_first(values: list[tuple[float, ...]], expected: list[int]) -> None:
    front = [individual(number, *row) for number, row in enumerate(values)]
    assert [one.number for one in sort_by_crowding(front)] == expected
    assert [one.number for one in front] == list(range(len(front)))  # which stays as it is


def test_parents_are_whole_fronts_and_the_least_crowded_of_the_next() -> None:
    population = [individual(number, value) for number, value in enumerate((5, 3, 3, 3, 1))]
    assert [one.number for one in select_parents(population, 3, [UP])] == [0, 3, 2]
    assert [one.number for one in select_parents(population, 9, [UP])] == [0, 1, 2, 3, 4]


def test_a_population_has_two_parents() -> None:
    with pytest.raises(ValueError, match="at least 2 trials, not 1"):
        Nsga2Sampler(SPACE, 1, 0)
