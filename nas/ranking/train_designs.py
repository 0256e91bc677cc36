"""Training designs alone, one a worker at a time: many short trainings on workers that stay."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import Pool
from nas.cluster.study_files import borrow, lending
from nas.data.dataset import Data
from nas.ranking.trained_designs import TrainingRun
from nas.runtime.console import bar, log
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME, Epoch, read_history
from nas.training.former_checkpoint import restore_checkpoint
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from search_spaces.errors import WorkError


class DesignTrainer:
    """The object that a worker holds: the images.

    Args:
        payload: ``data``, and ``files`` where a worker borrows what it reads and writes.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, payload: Mapping[str, Any], device: str) -> None:
        self.payload, self.device = payload, torch.device(device)

    def train(self, job: RetrainingJob) -> TrainingRun:
        """Train a design, from where it stopped if it was begun; its files stay until its result is kept."""
        with borrow(self.payload.get("files"), job) as own:
            train_one(own, self.payload, self.device, lambda _: None)
            return finished_run(own)


def finished_run(job: RetrainingJob) -> TrainingRun:
    """Return the training that a finished job's folder tells of, however often it was interrupted."""
    result, epochs = Study.read_result(job.result_file), read_history(job.folder / FILE_NAME, Epoch)
    return TrainingRun(
        result["digest"],
        job.recipe.seed,
        job.recipe.epochs,
        result["val_top1"],
        result["test_top1"],
        tuple(epoch.val_top1 for epoch in epochs),
        sum(epoch.seconds for epoch in epochs),
    )


def train_designs(
    jobs: Sequence[RetrainingJob],
    data: Data,
    allocation: WorkerAllocation,
    on_run: Callable[[TrainingRun], None],
) -> None:
    """Train designs on all workers, in the order given, as long as nothing stops them.

    Args:
        jobs: What to train; each folder is removed once ``on_run`` has kept its training.
        data: Images.
        allocation: The workers.
        on_run: Called with every training that is done.

    Raises:
        Interrupted: If the user asked to stop; what was begun goes on from its checkpoint.
        WorkError: If a training failed; the others are done.
    """
    for job in jobs:
        restore_checkpoint(job.checkpoint_file)
    if not jobs:
        return
    failures = []
    with (
        lending(jobs[0].folder.parent) as files,
        contextlib.closing(Pool(allocation, DesignTrainer, {"data": data, "files": files})) as pool,
        bar("training designs alone", len(jobs)) as progress,
    ):
        for done, result in enumerate(pool.map("train", jobs), 1):
            name = jobs[result.index].name
            if result.failure is not None:
                failures.append(f"{name}: {result.failure}")
                log.say(f"the training of {name} failed: {result.failure}")
                continue
            on_run(result.value)
            shutil.rmtree(jobs[result.index].folder, ignore_errors=True)
            progress.update(done, f"{name} {result.value.val_top1:.1f}% val")
    if failures:
        raise WorkError(f"{len(failures)} of {len(jobs)} trainings failed, the last {failures[-1]}")


def job_folder(scratch: Path, digest: str, seed: int, epochs: int) -> Path:
    """Return where a training keeps its files while it runs."""
    return scratch / f"{digest}-seed{seed}-{epochs}epochs"
