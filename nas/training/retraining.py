"""Training chosen designs by themselves: from scratch and from the supernet's weights, side by side."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nas.cluster.budget import WorkerAllocation
from nas.cluster.teams import plan_teams
from nas.cluster.trials import run_trials
from nas.data.batching import usable_shards
from nas.data.dataset import Data
from nas.runtime.console import bar, log
from nas.runtime.uncertainty import Accuracy, format_accuracy
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe, for_params
from nas.training.retraining_job import RetrainingJob
from nas.training.stored_answers import TrainingTeacher
from nas.training.subnet import train_one
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


def retrain(
    study: Study,
    candidates: Sequence[Candidate],
    recipe: Recipe,
    data: Data,
    inherited: Mapping[str, Mapping[str, Tensor]],
    allocation: WorkerAllocation,
    compile: bool = False,
    *,
    one_machine: bool = True,
    teacher: TrainingTeacher | None = None,
) -> list[dict[str, Any]]:
    """Train designs and return their results, best validation accuracy first.

    Finished ones are taken from the study; a design that was interrupted goes on where it stopped.

    Args:
        study: Where results are kept.
        candidates: What to train.
        recipe: How to train; its drop path may be by each design's size.
        data: Images; the test split is read once, by the last evaluation of each network.
        inherited: Weights from the supernet by digest, of every design that inherits.
        allocation: The workers of the budget, which the trainings share.
        compile: Whether blocks are compiled.
        one_machine: Whether all workers are on one machine.
        teacher: What teaches them beside the labels, or None.
    """
    images = study.images_digest(data)
    # Tune's trials run in folders of their own, where a relative path would mean another file.
    jobs = [
        RetrainingJob(
            each.design,
            mode,
            study.retraining_folder(each.architecture.digest, mode).absolute(),
            for_params(recipe, costs(each.architecture).params),
            images,
            digest_weights(inherited[each.architecture.digest]) if mode == "inherit" else None,
            compile,
            None if teacher is None else teacher.digest,
        )
        for each in candidates
        for mode in each.modes
    ]
    waiting = [job for job in jobs if not job.is_finished]
    if waiting:
        shards = usable_shards(len(data.train), recipe.shards)
        teams = plan_teams(len(waiting), shards, allocation, one_machine=one_machine)
        log.say(f"retraining {teams}")
        weights = {
            digest: {name: weight.numpy() for name, weight in state.items()}
            for digest, state in inherited.items()
        }
        tune_folder = study.folder.absolute() / "retrained" / ".tune"
        shutil.rmtree(tune_folder, ignore_errors=True)  # Tune's own records; the jobs resume themselves
        with bar("retraining", len(waiting) * recipe.epochs) as progress:
            epochs: dict[str, int] = {}
            rates: dict[str, float] = {}  # images/s of those that are in training

            def on_result(result: Mapping[str, Any]) -> None:
                name, epochs[result["name"]] = result["name"], result["epoch"]
                info = f"{name} {format_accuracy(result['top1'], len(data.val))} val"
                if rate := result["images_per_second"]:
                    rates[name] = rate
                    info += f", {sum(rates.values()):,.0f} images/s"
                if result["epoch"] == recipe.epochs:
                    rates.pop(name, None)
                progress.update(sum(epochs.values()), info)

            run_trials(
                train_one,
                waiting,
                {"data": data, "inherited": weights, "teacher": teacher},
                teams,
                str(tune_folder),
                on_result,
            )
        shutil.rmtree(tune_folder, ignore_errors=True)
    results = [study.read_result(job.result_file) for job in jobs]
    for result in results:
        log.say(
            f"retrained {result['digest']} ({result['mode']}): {Accuracy.from_result(result, 'val')} validation, "
            f"{Accuracy.from_result(result, 'test')} test top-1"
        )
    return sorted(results, key=lambda result: -result["val_top1"])
