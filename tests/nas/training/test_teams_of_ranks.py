"""The number of workers changes nothing of a retraining, to the last bit: together, killed, gone on with alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.cluster.teams import plan_teams
from nas.cluster.trials import run_trials
from nas.data.augment import Augmentation
from nas.runtime.documents import read_json
from nas.runtime.files import load_tensors
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.training.epoch_history import FILE_NAME, Epoch, read_history
from nas.training.retraining_job import RetrainingJob
from nas.training.stored_answers import TrainingTeacher, read_answers
from nas.training.subnet import train_one
from nas.training.teacher import make_teacher
from nas.training.teacher_examination import Examination, examine_teacher
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from supernet.subnet import build_subnet
from tests.helpers import workers
from tests.helpers.noise import three_splits
from tests.helpers.training import CPU, equal_tensors

SPACE = """\
name: two
blocks:
  mlp_ratio: [2]
  operators:
    {operator}
scales:
  nano:
    images: 16
    stem: patch4x4
    stages:
      - {{dim: 8, num_heads: 2, depth: [2]}}
"""
WITH = "dwconv: {kernel_size: [3], dynamic: [none], pos: [none]}"
WITHOUT = "gsa: {sr_ratio: [1], pos: [none]}"
RECIPE = Recipe(
    epochs=3,
    batch_size=10,
    shards=2,
    lr=5e-3,
    ema_decay=0.8,
    warmup=0.34,
    drop_path=0.3,
    mixup=0.8,
    cutmix=1.0,
)


def design(operator: str) -> Architecture:
    return parse_declaration(SPACE.format(operator=operator), "two.yaml").space("nano", 16, 3, 3).largest


@dataclass(frozen=True)
class Trained:
    """What a retraining left.

    Attributes:
        weights: Of its average, statistics included.
        result: What ``result.json`` says of accuracies.
        epochs: What was reported after each epoch.
        history: Accuracy, loss and rate of each epoch, those before an interruption included.
    """

    weights: dict[str, Tensor]
    result: dict[str, Any]
    epochs: list[dict[str, Any]]
    history: list[Epoch]

    def same_as(self, other: Trained) -> bool:
        return equal_tensors(self.weights, other.weights) and (self.result, self.history) == (
            other.result,
            other.history,
        )


def new_job(folder: Path, operator: str, mode: str = "scratch") -> RetrainingJob:
    return RetrainingJob(Design(design(operator)), mode, folder / mode, RECIPE, "0")


def new_payload() -> dict[str, Any]:
    return {"data": three_splits(Augmentation("small")), "inherited": {}}


def read(job: RetrainingJob, epochs: list[dict[str, Any]]) -> Trained:
    result = {name: value for name, value in read_json(job.result_file).items() if "top" in name}
    history = [replace(epoch, seconds=0.0) for epoch in read_history(job.folder / FILE_NAME, Epoch)]
    return Trained(load_tensors(job.folder / "model.safetensors")[0], result, epochs, history)


def train_alone(job: RetrainingJob) -> Trained:
    epochs: list[dict[str, Any]] = []
    train_one(job, new_payload(), CPU, epochs.append)
    assert all(epoch.pop("images_per_second") > 0 for epoch in epochs)
    return read(job, epochs)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Two ranks train one design to its end and are killed in another, which one process goes on with."""
    folder = tmp_path_factory.mktemp("together")
    jobs = [new_job(folder / "without", WITHOUT), new_job(folder / "with", WITH)]
    address = f"file://{folder / 'meeting'}"
    with pytest.raises(multiprocessing.ProcessExitedException):
        multiprocessing.start_processes(
            workers.as_retraining_rank, (jobs, new_payload(), address, 2), nprocs=2, start_method="spawn"
        )
    assert not jobs[1].is_finished
    return {"without": read(jobs[0], []), "with": train_alone(jobs[1])}


@pytest.mark.parametrize("norms", ["without", "with"])
def test_ranks_together_are_one_process(norms: str, together: dict[str, Trained], tmp_path: Path) -> None:
    operator = WITH if norms == "with" else WITHOUT
    statistics = [name for name, _ in build_subnet(design(operator)).named_buffers() if "running" in name]
    assert bool(statistics) == (norms == "with")
    alone = train_alone(new_job(tmp_path, operator))
    assert [result["epoch"] for result in alone.epochs] == [1, 2, 3]
    assert [epoch.epoch for epoch in alone.history] == [1, 2, 3]
    # Two of three epochs warm up from a hundredth of the peak (steps 2 and 5 of 6), then a cosine falls (step 8 of 9).
    rates = [5e-5 + 4.95e-3 * share for share in (2 / 6, 5 / 6, (1 + cos(8 / 9 * pi)) / 2)]
    assert [epoch.lr for epoch in alone.history] == pytest.approx(rates)
    assert together[norms].same_as(alone)
    if norms == "with":  # the first two epochs were those of the team
        assert [result["epoch"] for result in together[norms].epochs] == [3]
        assert together[norms].epochs[-1] == alone.epochs[-1]


@pytest.mark.slow
def test_ranks_together_are_taught_as_one_process(tmp_path: Path) -> None:
    """Each asks the teacher about its own images, or looks its answers up; copies of images and mixing included."""
    data = new_payload()["data"]
    torch.manual_seed(3)
    network = build_subnet(design(WITHOUT))
    with torch.no_grad():
        network.head.weight.mul_(20)
    teacher = make_teacher("wise", network, "0", (3, 16, 16), data.mean, data.std, 3, (), 0)
    examination = Examination(teacher, data, tmp_path, keeps_answers=True)
    examine_teacher(examination, CPU, lambda done: None)
    teachers: dict[str, TrainingTeacher] = {
        "varied": teacher,
        "clean": read_answers(examination.answers_file, teacher, data),
    }

    def jobs(side: str) -> list[tuple[RetrainingJob, dict[str, Any]]]:
        return [
            (
                replace(
                    new_job(tmp_path / side / images, WITH),
                    recipe=replace(RECIPE, teacher_images=images, repeated_augmentation=2),
                    teacher=teacher.digest,
                ),
                {**new_payload(), "teacher": who},
            )
            for images, who in teachers.items()
        ]

    address = f"file://{tmp_path / 'meeting'}"
    multiprocessing.start_processes(
        workers.as_taught_rank, (jobs("together"), address), nprocs=2, start_method="spawn"
    )
    trained = {}
    for (alone, payload), (together, _) in zip(jobs("alone"), jobs("together"), strict=True):
        train_one(alone, payload, CPU, lambda result: None)
        trained[alone.recipe.teacher_images] = read(alone, [])
        assert read(together, []).same_as(read(alone, []))
    untaught = train_alone(new_job(tmp_path / "untaught", WITH)).weights
    assert not equal_tensors(trained["varied"].weights, trained["clean"].weights)
    assert not any(equal_tensors(each.weights, untaught) for each in trained.values())


@pytest.mark.parametrize("change", [{"shards": 1}, {"drop_path": 0.0}, {"mixup": 0.0}], ids=str)
def test_what_the_shards_compute_matters(change: dict[str, Any], tmp_path: Path) -> None:
    """Else the equality above would show nothing."""
    job = new_job(tmp_path, WITH)
    one = train_alone(job)
    other = train_alone(replace(job, folder=tmp_path / "other", recipe=replace(RECIPE, **change)))
    assert not equal_tensors(one.weights, other.weights)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray as a search starts it."""
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    ray_cluster.start(Cluster(2, 0, "this machine", running=False))
    yield
    ray_cluster.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # of a Ray that a busy machine started in a second attempt
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_teams_and_trials_on_ray_survive_their_workers(jobs: int, ray: None, tmp_path: Path) -> None:
    """One job is trained by a team of two, two jobs by one worker each; in each of them a worker is killed once."""
    trained = [new_job(tmp_path / str(number), WITH) for number in range(jobs)]
    teams = plan_teams(jobs, RECIPE.shards, WorkerAllocation(2, 1.0, 0.0, "cpu"), one_machine=True)
    assert (teams.size, teams.count) == ((2, 1) if jobs == 1 else (1, 2))
    results: list[dict[str, Any]] = []
    run_trials(
        workers.retrain_dying_once, trained, new_payload(), teams, str(tmp_path / "tune"), results.append
    )
    assert all(list(job.folder.parent.glob("*-died")) for job in trained)
    alone = train_alone(new_job(tmp_path / "alone", WITH))
    for job in trained:
        found = read(job, [])
        # The losses of an epoch's steps before the death are gone with the process that made them.
        history = [
            replace(epoch, loss=same.loss) for epoch, same in zip(found.history, alone.history, strict=True)
        ]
        assert replace(found, history=history).same_as(alone)
    assert results[-1]["epoch"] == 3
