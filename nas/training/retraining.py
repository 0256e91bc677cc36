"""Training chosen designs by themselves: from scratch and from the supernet's weights, side by side."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nas.cluster.budget import WorkerAllocation
from nas.cluster.study_files import in_borrowed_folder, lending
from nas.cluster.teams import Teams, plan_teams
from nas.cluster.trials import run_trials
from nas.data.batching import usable_shards
from nas.data.dataset import Data
from nas.evaluation.own_scores import OwnScoring
from nas.runtime.console import bar, log
from nas.runtime.uncertainty import Accuracy, format_accuracy
from nas.search.analytic import AnalyticScores
from nas.search.own_objectives import costs_of, measures_of
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe, for_params
from nas.training.epoch_history import FILE_NAME, Epoch, read_history
from nas.training.former_checkpoint import restore_checkpoint
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from nas.training.retraining_job import RetrainingJob
from nas.training.stored_answers import TrainingTeacher
from nas.training.subnet import train_one
from nas.training.training_step import name_step
from nas.training.weight_digest import digest_weights
from search_spaces.architecture import Architecture
from search_spaces.cost import costs

MODES = ("scratch", "inherit")


@dataclass(frozen=True)
class Candidate:
    """A design to retrain.

    Args:
        design: The design, and where it is from.
        modes: Which of `MODES` it is trained in.
    """

    design: Design
    modes: tuple[str, ...] = MODES

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.design.architecture


@dataclass(frozen=True)
class Trainer:
    """What trainings of one study have in common, and how they are run side by side.

    Args:
        study: Where results are kept.
        recipe: How to train; its drop path may be by each design's size.
        data: Images; the test split is read once, by the last evaluation of each network.
        allocation: The workers of the budget, which the trainings share.
        compile: Whether blocks are compiled.
        one_machine: Whether all workers are on one machine.
        teacher: What teaches them beside the labels, or None.
        own: Functions of a Python program.
    """

    study: Study
    recipe: Recipe
    data: Data
    allocation: WorkerAllocation
    compile: bool = False
    one_machine: bool = True
    teacher: TrainingTeacher | None = None
    own: OwnFunctions = NO_FUNCTIONS

    def job(
        self, design: Design, mode: str, weights: Mapping[str, Tensor] | None = None, until: int | None = None
    ) -> RetrainingJob:
        """Return the training of a design in a mode, of inherited weights if it has some, to an epoch or the end."""
        digest = design.architecture.digest
        return RetrainingJob(
            design,
            mode,
            # Tune's trials run in folders of their own, where a relative path would mean another file.
            self.study.retraining_folder(digest, mode).absolute(),
            for_params(self.recipe, costs(design.architecture).params),
            self.study.images_digest(self.data),
            None if weights is None else digest_weights(weights),
            self.compile,
            None if self.teacher is None else self.teacher.digest,
            name_step(self.own.training_step),
            until,
        )

    def _own_scoring(self, jobs: Sequence[RetrainingJob]) -> OwnScoring | None:
        """Return how objectives of a program score what is trained; None without any."""
        objectives = self.own.objectives
        if not objectives:
            return None
        scores, settings = AnalyticScores(own=costs_of(objectives)), self.study.settings()
        designs = {job.architecture.digest: job.architecture for job in jobs}
        known = {digest: scores.own_scores(design) for digest, design in designs.items()}
        return OwnScoring(known, measures_of(objectives), settings.validation_images, settings.seed)

    def train(
        self,
        jobs: Sequence[RetrainingJob],
        title: str,
        inherited: Mapping[str, Mapping[str, Tensor]] | None = None,
        on_epoch: Callable[[RetrainingJob, int, float], None] = lambda job, epoch, top1: None,
    ) -> None:
        """Train to the end of every job, each from where it stopped if it was begun.

        Args:
            jobs: What to train; all end after equally many epochs.
            title: What the bar is called.
            inherited: Weights by digest, of every design that inherits.
            on_epoch: Called with a job, the epoch that it has done, and its validation accuracy in percent.
        """
        if not jobs:
            return
        shards = usable_shards(len(self.data.train), self.recipe.shards)

        def plan(jobs_left: int, workers: int) -> Teams:
            allocation = replace(self.allocation, workers=workers)
            return plan_teams(jobs_left, shards, allocation, one_machine=self.one_machine)

        teams = plan(len(jobs), self.allocation.workers)
        log.say(f"{title} {teams}")
        weights = {
            digest: {name: weight.numpy() for name, weight in state.items()}
            for digest, state in (inherited or {}).items()
        }
        tune_folder = self.study.folder.absolute() / "retrained" / ".tune"
        shutil.rmtree(tune_folder, ignore_errors=True)  # Tune's own records; the jobs resume themselves
        for job in jobs:
            restore_checkpoint(job.checkpoint_file)
        by_name = {job.name: job for job in jobs}
        epochs = {job.name: _epochs_done(job) for job in jobs}
        with bar(title, sum(job.last_epoch for job in jobs), sum(epochs.values())) as progress:
            rates: dict[str, float] = {}  # images/s of those that are in training

            def on_result(result: Mapping[str, Any]) -> None:
                name, epochs[result["name"]] = result["name"], result["epoch"]
                info = f"{name} {format_accuracy(result['top1'], len(self.data.val))} val"
                if rate := result["images_per_second"]:
                    rates[name] = rate
                    info += f", {sum(rates.values()):,.0f} images/s"
                if result["epoch"] == by_name[name].last_epoch:
                    rates.pop(name, None)
                job, epoch, top1 = by_name[name], result["epoch"], result["top1"]
                on_epoch(job, epoch, top1)
                self.own.callbacks.on_epoch(job.architecture, job.mode, epoch, job.recipe.epochs, top1)
                progress.update(sum(epochs.values()), info)

            payload = {
                "data": self.data,
                "inherited": weights,
                "teacher": self.teacher,
                "training_step": self.own.training_step,
                "own_scoring": self._own_scoring(jobs),
            }
            with lending(self.study.folder) as files:
                train = in_borrowed_folder(train_one, files)
                run_trials(train, list(jobs), payload, teams, str(tune_folder), on_result, plan)
        shutil.rmtree(tune_folder, ignore_errors=True)


def _epochs_done(job: RetrainingJob) -> int:
    """Return how many epochs a job has behind it, for people."""
    if not job.checkpoint_file.exists():
        return 0
    return min(
        job.last_epoch, max((row.epoch for row in read_history(job.folder / FILE_NAME, Epoch)), default=0)
    )


def retrain(
    trainer: Trainer,
    candidates: Sequence[Candidate],
    inherited: Mapping[str, Mapping[str, Tensor]],
) -> list[dict[str, Any]]:
    """Train designs and return their results, best validation accuracy first.

    Finished ones are taken from the study; a design that was interrupted goes on where it stopped.

    Args:
        trainer: How to train, and where results are kept.
        candidates: What to train.
        inherited: Weights from the supernet by digest, of every design that inherits.
    """
    jobs = [
        trainer.job(each.design, mode, inherited[each.architecture.digest] if mode == "inherit" else None)
        for each in candidates
        for mode in each.modes
    ]
    trainer.train([job for job in jobs if not job.is_finished], "retraining", inherited)
    results = [trainer.study.read_result(job.result_file) for job in jobs]
    for result in results:
        log.say(
            f"retrained {result['digest']} ({result['mode']}): {Accuracy.from_result(result, 'val')} validation, "
            f"{Accuracy.from_result(result, 'test')} test top-1"
        )
    return sorted(results, key=lambda result: -result["val_top1"])
