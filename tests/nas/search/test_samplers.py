"""What is drawn is what Optuna's own ``ask`` and ``tell`` draw, without their work."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.search.samplers import Proposer
from search_spaces.space import Space

POPULATION = 6
BATCHES = 12
DIRECTIONS = ("maximize", "minimize")
Trial = tuple[dict[str, Any], dict[str, Any]]  # parameters and notes


class Plain(NSGAIISampler):
    """Optuna's NSGA-II, told what every trial draws so that it takes the parameters in their order."""

    drawn: dict[str, BaseDistribution]

    def infer_relative_search_space(self, *given: object) -> dict[str, BaseDistribution]:
        return self.drawn


def values(params: Mapping[str, Any]) -> list[float]:
    """Return two made-up objectives."""
    text = repr(sorted(params.items())).encode()
    return [zlib.crc32(text) % 1000 / 10, zlib.crc32(text[::-1]) % 50]


def excess(params: Mapping[str, Any]) -> float:
    """Return by how much a made-up limit is exceeded."""
    return values(params)[1] - 35


def by_optuna(sampler: str, space: Space, limited: bool, starts: list[dict[str, Any]]) -> list[Trial]:
    """Return parameters and notes of all trials that Optuna's own study draws."""
    drawn = {choice.name: CategoricalDistribution(choice.options) for choice in space.choices}
    study, found = optuna.create_study(directions=DIRECTIONS), []
    for start in starts:
        study.enqueue_trial(start)
    for seed in range(BATCHES):
        made: BaseSampler = RandomSampler(seed)
        if sampler == "nsga2":
            made = Plain(population_size=POPULATION, seed=seed)
            made.drawn = drawn
        elif sampler == "tpe":
            made = TPESampler(n_startup_trials=2 * POPULATION, seed=seed)
        study.sampler = made
        trials = [study.ask(drawn) for _ in range(POPULATION)]
        for trial in trials:
            if limited:
                trial.set_constraint("limit", excess(trial.params))
        frozen = study.get_trials(states=(TrialState.RUNNING,))
        found += [(trial.params, trial.system_attrs) for trial in frozen]
        for trial in trials:
            if limited and excess(trial.params) > 0:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, values(trial.params))
    for _, notes in found:
        notes.pop("fixed_params", None)
    return found


def proposed(
    sampler: str, space: Space, limited: bool, starts: list[dict[str, Any]], earlier: Sequence[Trial] = ()
) -> list[Trial]:
    """Return the same of a proposer that goes on from the whole batches ``earlier``."""
    proposer = Proposer(sampler, space.choices, POPULATION, DIRECTIONS)
    found = list(earlier)

    def told(params: Mapping[str, Any]) -> list[float] | None:
        return None if limited and excess(params) > 0 else values(params)

    for first in range(0, len(earlier), POPULATION):
        params, memory = zip(*earlier[first : first + POPULATION], strict=True)
        proposer.resume(params, memory, [told(one) for one in params])
    for seed in range(len(earlier) // POPULATION, BATCHES):
        trials = proposer.ask(seed, POPULATION, starts if seed == 0 else [])
        for trial in trials:
            if limited:
                trial.set_constraint("limit", excess(trial.params))
        found += [(dict(trial.params), dict(trial.system_attrs)) for trial in trials]
        proposer.tell(trials, [told(trial.params) for trial in trials])
    return found


def notes(drawn: list[Trial]) -> list[Trial]:
    """Return trials with their notes by the words that do not name the sampler's class."""
    return [
        (params, {key.rpartition(":")[2]: value for key, value in kept.items()}) for params, kept in drawn
    ]


@pytest.fixture(scope="module", params=["nsga2", "tpe", "random"])
def sampler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("limited", [False, True])
def test_trials_are_those_of_optuna(sampler: str, limited: bool, space: Space) -> None:
    starts = [space.values(space.smallest), space.values(space.largest)]
    expected = by_optuna(sampler, space, limited, starts)
    found = proposed(sampler, space, limited, starts)
    assert notes(found) == notes(expected)
    assert [params for params, _ in found[:2]] == starts
    assert not limited or 0 < sum(excess(params) > 0 for params, _ in found) < len(found)


@pytest.mark.parametrize("limited", [False, True])
def test_a_proposer_goes_on_from_any_batch(sampler: str, limited: bool, space: Space) -> None:
    whole = proposed(sampler, space, limited, [])
    for batches in (3, BATCHES - 1):
        assert proposed(sampler, space, limited, [], whole[: batches * POPULATION]) == whole


def test_nsga2_does_not_go_through_all_trials(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    every = optuna.storages.InMemoryStorage.get_all_trials

    def listen(self: Any, study: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        asked.append(states)
        return every(self, study, deepcopy, states)

    monkeypatch.setattr(optuna.storages.InMemoryStorage, "get_all_trials", listen)
    proposed("nsga2", space, False, [])
    assert set(asked) == {(TrialState.WAITING,)}  # of which Optuna remembers where they begin
