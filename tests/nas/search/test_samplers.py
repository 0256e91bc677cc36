"""What is proposed is what Optuna's own ``ask`` and ``tell`` propose, without their work."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.analytic import AnalyticScores
from nas.search.limits import Limits
from nas.search.objectives import Goal
from nas.search.samplers import SAMPLERS, create_proposer
from search_spaces.errors import RequestError
from search_spaces.space import Space
from tests.helpers.searches import small_space

POPULATION = 6
BATCHES = 12
DIRECTIONS = ("maximize", "minimize")
Trial = tuple[dict[str, Any], dict[str, Any]]  # parameters and notes


class OptunasNsga2(NSGAIISampler):
    """Optuna's NSGA-II, with the search space given so that it takes the parameters in their order."""

    search_space: dict[str, BaseDistribution]

    def infer_relative_search_space(self, *given: object) -> dict[str, BaseDistribution]:
        return self.search_space


def compute_values(params: Mapping[str, Any]) -> list[float]:
    """Return two made-up objectives."""
    text = repr(sorted(params.items())).encode()
    return [zlib.crc32(text) % 1000 / 10, zlib.crc32(text[::-1]) % 50]


def compute_violation(params: Mapping[str, Any]) -> float:
    """Return by how much a made-up constraint is violated."""
    return compute_values(params)[1] - 35


def propose_with_optuna(
    sampler: str, space: Space, constrained: bool, initial: list[dict[str, Any]]
) -> list[Trial]:
    """Return parameters and notes of all trials that Optuna's own study proposes."""
    search_space: dict[str, BaseDistribution] = {
        choice.name: CategoricalDistribution(choice.options) for choice in space.choices
    }
    study, proposed = optuna.create_study(directions=DIRECTIONS), []
    for params in initial:
        study.enqueue_trial(params)
    for seed in range(BATCHES):
        optunas: BaseSampler = RandomSampler(seed)
        if sampler == "nsga2":
            optunas = OptunasNsga2(population_size=POPULATION, seed=seed)
            optunas.search_space = search_space
        elif sampler == "tpe":
            optunas = TPESampler(n_startup_trials=2 * POPULATION, seed=seed)
        study.sampler = optunas
        trials = [study.ask(search_space) for _ in range(POPULATION)]
        for trial in trials:
            if constrained:
                trial.set_constraint("limit", compute_violation(trial.params))
        frozen = study.get_trials(states=(TrialState.RUNNING,))
        proposed += [(trial.params, trial.system_attrs) for trial in frozen]
        for trial in trials:
            if constrained and compute_violation(trial.params) > 0:
                # Optuna's NSGA-II leaves pruned trials out; of one with a violation it never looks at the values.
                study.tell(
                    trial,
                    [0.0, 0.0] if sampler == "nsga2" else None,
                    None if sampler == "nsga2" else TrialState.PRUNED,
                )
            else:
                study.tell(trial, compute_values(trial.params))
    for _, attrs in proposed:
        attrs.pop("fixed_params", None)
    return proposed


def propose(
    sampler: str,
    space: Space,
    constrained: bool,
    initial: list[dict[str, Any]],
    earlier: Sequence[Trial] = (),
) -> list[Trial]:
    """Return the same of a proposer that goes on from the whole batches ``earlier``."""
    proposer = create_proposer(sampler, Limits(space, Goal(), AnalyticScores()), POPULATION)
    proposed = list(earlier)

    def find_objectives(params: Mapping[str, Any]) -> list[float] | None:
        return None if constrained and compute_violation(params) > 0 else compute_values(params)

    for first in range(0, len(earlier), POPULATION):
        params, attrs = zip(*earlier[first : first + POPULATION], strict=True)
        proposer.resume(params, attrs, [find_objectives(one) for one in params])
    for seed in range(len(earlier) // POPULATION, BATCHES):
        trials = proposer.ask(seed, POPULATION, initial if seed == 0 else [])
        for trial in trials:
            if constrained:
                trial.set_constraint("limit", compute_violation(trial.params))
        proposed += [(dict(trial.params), dict(trial.system_attrs)) for trial in trials]
        proposer.tell(trials, [find_objectives(trial.params) for trial in trials])
    return proposed


def with_short_names(trials: list[Trial]) -> list[Trial]:
    """Return trials with their notes by the words that do not name the sampler's class."""
    return [
        (params, {key.rpartition(":")[2]: value for key, value in attrs.items()}) for params, attrs in trials
    ]


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
@pytest.mark.parametrize("constrained", [False, True])
def test_trials_are_those_of_optuna(sampler: str, constrained: bool, space: Space) -> None:
    initial = [space.values(space.smallest), space.values(space.largest)]
    expected = propose_with_optuna(sampler, space, constrained, initial)
    found = propose(sampler, space, constrained, initial)
    assert with_short_names(found) == with_short_names(expected)
    assert [params for params, _ in found[:2]] == initial
    assert not constrained or 0 < sum(compute_violation(params) > 0 for params, _ in found) < len(found)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("constrained", [False, True])
def test_a_proposer_goes_on_from_any_batch(sampler: str, constrained: bool, space: Space) -> None:
    whole = propose(sampler, space, constrained, [])
    for batches in (3, BATCHES - 1):
        assert propose(sampler, space, constrained, [], whole[: batches * POPULATION]) == whole


def test_nsga2_does_not_go_through_all_trials(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    every = optuna.storages.InMemoryStorage.get_all_trials

    def listen(self: Any, study: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        asked.append(states)
        return every(self, study, deepcopy, states)

    monkeypatch.setattr(optuna.storages.InMemoryStorage, "get_all_trials", listen)
    propose("nsga2", space, False, [])
    assert asked == []


def test_generations_are_noted_by_the_name_that_databases_have(space: Space) -> None:
    generations = [attrs["_Evolution:generation"] for _, attrs in propose("nsga2", space, False, [])]
    assert generations == [number for number in range(BATCHES) for _ in range(POPULATION)]


def test_unknown_sampler() -> None:
    with pytest.raises(RequestError, match="did you mean 'nsga2'"):
        create_proposer("nsga", Limits(small_space(), Goal(), AnalyticScores()), 10)
