"""The choices of a search, simulated on designs whose trainings are known: planted ones, where the best is certain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from search_spaces.declaration import load_declaration
from tests.helpers.scripts import load_script

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        yield load_script(STUDIES / "cifar10_nano" / "simulate.py")
    del sys.modules["order_rows"]


@pytest.fixture(scope="module")
def designs() -> list[TrainedDesign]:
    """Designs of which seed 0 says the opposite of seed 1 after all epochs, and nothing before."""
    space, found = load_declaration(STUDIES / "attention_table" / "space.yaml").space(None, 16, 3, 10), []
    for number in range(60):
        design, top1 = space.sample(Random(number)), 40 + number / 8
        runs = tuple(
            TrainingRun(design.digest, seed, 10, value, 0, (40.0,) * 9 + (value,), 1)
            for seed, value in ((0, top1), (1, 80 - top1))
        )
        found.append(TrainedDesign(design, "sampled", runs))
    return found


def case_of(study: ModuleType, designs: list[TrainedDesign], seed: int = 0) -> Any:
    scores = {each.architecture.digest: each.runs[0].val_top1 for each in designs}
    return study.Case(designs, 3e6, scores, scores, seed, Random(0), designs)


def test_what_is_found_counts_by_the_trainings_that_did_not_choose(
    study: ModuleType, designs: list[TrainedDesign]
) -> None:
    for seed in (0, 1):
        case = case_of(study, designs, seed)
        chosen = max(designs, key=case.top1)
        assert case.top1(chosen) == designs[-1 if seed == 0 else 0].runs[seed].val_top1
        assert case.worth(chosen) == 80 - case.top1(chosen)


def test_halving_loses_what_starts_slowly(study: ModuleType, designs: list[TrainedDesign]) -> None:
    case = case_of(study, designs)
    best = designs[-1]
    slow = TrainedDesign(
        best.architecture,
        best.origin,
        tuple(
            TrainingRun(run.digest, run.seed, 10, run.val_top1, 0, (30.0,) * 9 + (run.val_top1,), 1)
            for run in best.runs
        ),
    )
    assert (
        case.halve([*designs[:11], best]) in designs[:3]
    )  # of equals the first go on, and the best was not one
    assert case.halve([best, *designs[:11]]) is best
    assert case.halve([slow, *designs[:11]]) is not slow
    assert case.halve([slow, *designs[:2]]) is slow  # no more candidates than are kept


def test_rules_are_judged_under_each_limit_and_against_the_present_one(
    study: ModuleType, designs: list[TrainedDesign], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {each.architecture.digest: each.runs[0].val_top1 for each in designs}
    rules = {
        study.PRESENT: lambda case: min(case.designs, key=lambda each: each.runs[0].val_top1),
        "the best": lambda case: case.rank(case.scores)[0],
    }
    monkeypatch.setattr(study, "RULES", rules)
    monkeypatch.setattr(study, "LIMITS", (3.0,))
    found = study.simulate(designs, [(right, right)], 4)
    # Of each half the worst and the best; what seeds 0 and 1 say of one design is 80 together.
    assert found == {rule: [[40.0]] * 4 for rule in rules}
    lines = list(study.to_table(found))
    assert lines[2] == f"| {study.PRESENT} | 40.0 | 40.0 | – | – |"
    assert lines[3] == "| the best | 40.0 | 40.0 | +0.0 ± 0.0 | 0 of 4 |"
    monkeypatch.setattr(study, "SEEDS", (1,))
    found = study.simulate(designs, [(right, right)], 4)
    assert all(
        best[0] > worst[0] for best, worst in zip(found["the best"], found[study.PRESENT], strict=True)
    )
    assert list(study.to_table(found))[3].endswith("| 4 of 4 |")
