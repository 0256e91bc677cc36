"""A retrained result is used again only for the same recipe, images and inherited weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.cluster.budget import allocate_workers, parse_budget
from nas.data.dataset import Data
from nas.runtime.documents import read_json
from nas.runtime.files import write_json
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.training import retraining
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.weight_digest import digest_weights
from search_spaces.cost import costs
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from tests.helpers.training import CPU, RECIPE
from tests.helpers.workers import checkpoint_every_step

SHORT = replace(RECIPE, epochs=1)


def train(job: RetrainingJob, data: Data) -> int:
    """Train a job as a worker does; return how many epochs it took."""
    epochs: list[Any] = []
    train_one(job, {"data": data, "inherited": {}}, CPU, epochs.append)
    return len(epochs)


@pytest.fixture
def job(space: Space, data: Data, tmp_path: Path) -> RetrainingJob:
    return RetrainingJob(Design(space.smallest), "scratch", tmp_path / "job", SHORT, data.digest)


def test_used_again_only_where_nothing_that_decides_it_differs(job: RetrainingJob, data: Data) -> None:
    assert train(job, data) == 1
    assert train(job, data) == 0
    for changed in (
        replace(job, images="other images"),
        replace(job, images="other images", weights="others"),
        replace(job, images="other images", weights="others", recipe=replace(SHORT, lr=1e-4)),
    ):
        assert train(changed, data) == 1
        assert train(changed, data) == 0


def test_results_of_earlier_versions_are_used_again(job: RetrainingJob, data: Data) -> None:
    train(job, data)
    result = read_json(job.result_file)
    assert result.pop("made_from") == {"images": data.digest, "weights": None}
    assert result["recipe"] == asdict(SHORT)
    for number in ("mixup", "warmup_epochs", "drop_path_by_params"):  # which they did not have
        del result["recipe"][number]
    write_json(job.result_file, result)
    assert train(job, data) == 0


def test_a_checkpoint_of_other_images_is_no_beginning(
    job: RetrainingJob, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_every_step(monkeypatch.setattr)
    longer = replace(job, recipe=replace(SHORT, epochs=2))

    class Stop(Exception):
        pass

    def stop(result: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        train_one(longer, {"data": data, "inherited": {}}, CPU, stop)
    with pytest.raises(CheckpointError, match="belongs to another network, teacher or recipe"):
        train(replace(longer, images="other images"), data)
    assert train(longer, data) == 1


def test_weights_are_told_by_name_and_content() -> None:
    weights = {"a": torch.zeros(2, 3), "count": torch.tensor(1)}
    same = {"count": torch.tensor(1), "a": torch.zeros(3, 2).T}
    others = [
        {**weights, "a": torch.ones(2, 3)},
        {**weights, "a": torch.zeros(3, 2)},
        {"b": weights["a"], "count": weights["count"]},
        {**weights, "count": torch.tensor(1.0)},
    ]
    digests = [digest_weights(each) for each in (weights, *others)]
    assert digest_weights(same) == digests[0] and len(set(digests)) == 5


def test_drop_path_is_by_the_size_of_each_design(
    space: Space, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    designs = [space.smallest, space.largest]
    small, large = (costs(design).params for design in designs)
    assert small < large
    recipe = replace(SHORT, drop_path_by_params=((small, 0.1), (large, 0.3)))
    recipes: list[Recipe] = []

    class Stop(Exception):
        pass

    def stop(train_one: object, jobs: list[RetrainingJob], *others: object) -> None:
        recipes.extend(job.recipe for job in jobs)
        raise Stop

    monkeypatch.setattr(retraining, "run_trials", stop)
    candidates = [retraining.Candidate(Design(design), ("scratch",)) for design in designs]
    allocation = allocate_workers(parse_budget("1cpu"), 1, 0)
    with pytest.raises(Stop):
        retraining.retrain(retraining.Trainer(Study(tmp_path), recipe, data, allocation), candidates, {})
    assert [each.drop_path for each in recipes] == [0.1, 0.3]
    # What a finished result is compared with has been through JSON.
    assert all(json.loads(json.dumps(asdict(each))) == asdict(each) for each in recipes)
