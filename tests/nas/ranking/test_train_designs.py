"""A training alone loses nothing: not the time of before it was interrupted, nor its files until it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import ItemResult
from nas.data.dataset import Data
from nas.ranking import train_designs as module
from nas.ranking.train_designs import DesignTrainer, train_designs
from nas.ranking.trained_designs import TrainingRun
from nas.runtime.files import write_json
from nas.runtime.interrupt import Interrupted
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.training.epoch_history import FILE_NAME, Epoch, EpochHistory
from nas.training.retraining_job import RetrainingJob
from tests.helpers.searches import small_space


class PoolInThisProcess:
    """A pool without workers."""

    def __init__(self, _: Any, factory: Any, payload: Any) -> None:
        self.held = factory(payload, "cpu")

    def map(self, method: str, items: Sequence[Any]) -> Iterator[ItemResult]:
        for index, item in enumerate(items):
            yield ItemResult(index, getattr(self.held, method)(item))

    def close(self) -> None:
        pass


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RetrainingJob:
    """A job that is trained in two epochs of 1 and 2 seconds, in however many pieces."""
    made = RetrainingJob(
        Design(small_space().smallest), "scratch", tmp_path / "job", Recipe(epochs=2), "images"
    )

    def train(job: RetrainingJob, *_: Any) -> None:
        job.folder.mkdir(exist_ok=True)
        history = EpochHistory(job.folder / FILE_NAME, 0, Epoch)
        for number in (1, 2):
            history.add(Epoch(number, 20.0 * number, 1.0, 0.1, float(number)))
        design = job.architecture
        result = {"digest": design.digest, "mode": job.mode, "architecture": design.to_json(), "macs": 1}
        result |= {
            "val_top1": 40.0,
            "test_top1": 39.0,
            "recipe": {},
            "weights": "model.safetensors",
            "test_images": 9,
        }
        write_json(job.result_file, result)

    monkeypatch.setattr(module, "train_one", train)
    monkeypatch.setattr(module, "Pool", PoolInThisProcess)
    return made


def run_all(job: RetrainingJob, on_run: Any) -> None:
    """Train one job on no workers."""
    allocation: Any = WorkerAllocation
    data: Any = Data
    train_designs([job], data, allocation, on_run)


def test_a_training_took_what_its_epochs_took(job: RetrainingJob) -> None:
    run = DesignTrainer({"data": None}, "cpu").train(job)
    assert run == TrainingRun(job.architecture.digest, job.recipe.seed, 2, 40.0, 39.0, (20.0, 40.0), 3.0)


def test_files_of_a_training_stay_until_it_is_kept(job: RetrainingJob) -> None:
    def stop(run: TrainingRun) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        run_all(job, stop)
    assert job.result_file.exists()
    kept: list[TrainingRun] = []
    run_all(job, kept.append)
    assert len(kept) == 1 and not job.folder.exists()
