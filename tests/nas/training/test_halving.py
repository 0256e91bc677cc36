"""Successive halving: what goes on is the training that was never paused, however often it was killed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.cluster.budget import allocate_workers, parse_budget
from nas.data.dataset import Data
from nas.runtime.files import load_tensors, write_json
from nas.search.halving import Spread
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.training import retraining
from nas.training.halving import halve
from nas.training.retraining import Candidate, Trainer, retrain
from nas.training.subnet import train_one
from search_spaces.cost import costs
from search_spaces.errors import StudyError
from search_spaces.space import Space
from tests.helpers.searches import Killed

RECIPE = Recipe(epochs=4, batch_size=8, lr=2e-3, warmup=0.34)
CPU = torch.device("cpu")
GOAL = Goal(("top1", "macs"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The trainings that were run, in this process and one after the other, with the epoch that each ended at."""
    ran: list[tuple[str, int]] = []

    def run(
        function: Any,
        jobs: list[Any],
        payload: Any,
        teams: Any,
        folder: str,
        on_result: Any,
        plan: Any = None,
    ) -> None:
        for job in jobs:
            ran.append((job.architecture.digest, job.last_epoch))
            function(job, payload, CPU, on_result, 0, 1)

    monkeypatch.setattr(retraining, "run_trials", run)
    return ran


def spread_of(space: Space, count: int) -> list[Spread]:
    designs = sorted(space.enumerate(), key=lambda design: (-costs(design).macs, design.digest))
    chosen = designs[:: len(designs) // count][:count]
    return [
        Spread(TrialRecord(0, index, {}, each, {"top1": 50.0 + index, "macs": float(costs(each).macs)}), "")
        for index, each in enumerate(chosen)
    ]


def trainer_in(folder: Path, data: Data, recipe: Recipe = RECIPE) -> Trainer:
    return Trainer(Study(folder), recipe, data, allocate_workers(parse_budget("1cpu"), 1, 0))


def record_of(folder: Path) -> dict[str, dict[str, Any]]:
    content = Study(folder).halving()
    assert content is not None
    return {each["digest"]: each for each in content["candidates"]}


def weights_of(folder: Path, design: Design) -> dict[str, torch.Tensor]:
    file = Study(folder).retraining_folder(design.architecture.digest, "scratch") / "model.safetensors"
    return load_tensors(file)[0]


def test_survivors_are_the_trainings_that_were_never_paused(
    space: Space, data: Data, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    spread, paused, whole = spread_of(space, 4), tmp_path / "paused", tmp_path / "whole"
    kept = halve(trainer_in(paused, data), spread, GOAL, 1, ["nas", "retrain"])
    assert [end for _, end in trained] == [1] * 4 + [2] * 2
    (result,) = retrain(trainer_in(paused, data), [Candidate(kept[0], ("scratch",))], {})
    everyone = [Candidate(Design(each.trial.architecture), ("scratch",)) for each in spread]
    alone = {each["digest"]: each for each in retrain(trainer_in(whole, data), everyone, {})}
    # What each had reached at its pause is what it reaches there uninterrupted.
    record = record_of(paused)
    histories = {
        digest: (whole / "retrained" / digest / "scratch/history.csv").read_text().splitlines()[1:]
        for digest in alone
    }
    for digest, entry in record.items():
        for epoch, top1 in entry["val_top1"].items():
            assert float(histories[digest][int(epoch) - 1].split(",")[1]) == top1
    ends = sorted((entry["out_after"] or 9, len(entry["val_top1"])) for entry in record.values())
    assert ends == [(1, 1), (1, 1), (2, 2), (9, 2)]
    assert result["val_top1"] == alone[result["digest"]]["val_top1"]
    one, other = weights_of(paused, kept[0]), weights_of(whole, kept[0])
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    # Nothing is left of those that fell out.
    assert [path.name for path in (paused / "retrained").iterdir()] == [kept[0].architecture.digest]
    content = json.loads((paused / "halving.json").read_text())
    assert content["provenance"]["command"] == ["nas", "retrain"]
    assert content["rungs"] == [{"epochs": 1, "keep": 2}, {"epochs": 2, "keep": 1}]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_one_that_was_killed_goes_on_where_it_was(
    after: int, space: Space, data: Data, tmp_path: Path, trained: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spread = spread_of(space, 4)
    expected = halve(trainer_in(tmp_path / "whole", data), spread, GOAL, 1)
    whole, started = list(trained), 0
    trained.clear()
    real = retraining.run_trials

    def die(
        function: Any,
        jobs: list[Any],
        payload: Any,
        teams: Any,
        folder: str,
        on_result: Any,
        plan: Any = None,
    ) -> None:
        def killed(job: Any, *arguments: Any) -> None:
            nonlocal started
            started += 1
            if started > after:
                raise Killed
            train_one(job, *arguments)

        real(killed, jobs, payload, teams, folder, on_result, plan)

    monkeypatch.setattr(retraining, "run_trials", die)
    with pytest.raises(Killed):
        halve(trainer_in(tmp_path / "killed", data), spread, GOAL, 1)
    monkeypatch.setattr(retraining, "run_trials", real)
    done = trained[:after]
    trained.clear()
    assert halve(trainer_in(tmp_path / "killed", data), spread, GOAL, 1) == expected
    assert done + trained == whole  # nothing was trained twice
    assert record_of(tmp_path / "killed") == record_of(tmp_path / "whole")


def test_a_lost_record_is_made_again_from_what_goes_on(
    space: Space, data: Data, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    """A survivor's checkpoint is beyond the first rung by then; its history says what it had reached there."""
    spread = spread_of(space, 4)
    expected = halve(trainer_in(tmp_path, data), spread, GOAL, 1)
    before = record_of(tmp_path)
    (tmp_path / "halving.json").unlink()
    assert halve(trainer_in(tmp_path, data), spread, GOAL, 1) == expected
    assert record_of(tmp_path) == before


def test_what_is_known_of_a_candidate_is_taken_over_unless_the_recipe_is_another(
    space: Space, data: Data, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    spread = spread_of(space, 4)
    (kept,) = halve(trainer_in(tmp_path, data), spread, GOAL, 1)
    retrain(trainer_in(tmp_path, data), [Candidate(kept, ("scratch",))], {})
    trained.clear()
    again = halve(trainer_in(tmp_path, data), spread, GOAL, 2)
    assert kept in again
    # All are known after the first epoch, and the one that was finished after every epoch.
    fresh = [digest for digest, end in trained if end == 1]
    assert not fresh and all(digest != kept.architecture.digest for digest, _ in trained)
    trained.clear()
    halve(trainer_in(tmp_path, data, replace(RECIPE, lr=1e-3)), spread[:3], GOAL, 2)
    assert [end for _, end in trained] == [1] * 3


def test_too_short_a_training_leaves_the_choice_to_the_supernet(
    space: Space, data: Data, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    spread = spread_of(space, 4)
    kept = halve(trainer_in(tmp_path, data, replace(RECIPE, epochs=1)), spread, GOAL, 1)
    assert [each.architecture.digest for each in kept] == [spread[-1].digest] and not trained


def test_a_damaged_record_is_one_sentence(space: Space, data: Data, tmp_path: Path) -> None:
    write_json(tmp_path / "halving.json", {"epochs": 4})
    with pytest.raises(StudyError, match=r"halving\.json"):
        halve(trainer_in(tmp_path, data), spread_of(space, 4), GOAL, 1)
