"""Successive halving: candidates are trained alone from scratch, and the better ones go on at every rung.

Every training has the schedule of its whole length and is only paused, so a design that goes on computes what it would
have computed alone. Accuracies of the rungs are in ``halving.json`` as soon as they are known: one that was killed goes
on where it was, and one of other candidates takes over what it knows of them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nas.runtime.console import log
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import format_accuracy
from nas.search.halving import Rung, Spread, cost_of, plan_rungs, select_survivors
from nas.search.objectives import Goal
from nas.study.designs import Design
from nas.training.epoch_history import FILE_NAME, Epoch, read_history
from nas.training.retraining import Trainer
from nas.training.retraining_job import RetrainingJob
from nas.training.training_step import name_step


def halve(
    trainer: Trainer, spread: Sequence[Spread], goal: Goal, keep: int, command: Sequence[str] = ()
) -> list[Design]:
    """Train candidates to each rung and return the designs that go on after the last, the most accurate first.

    Args:
        trainer: How to train.
        spread: The candidates.
        goal: Objectives of the search: a front over its cost survives, or the most accurate where it has none.
        keep: Designs that are left.
        command: The command line, for the record's provenance.

    Raises:
        Interrupted: If the user asked to stop; what was trained goes on from its checkpoint.
    """
    rungs = plan_rungs(len(spread), keep, trainer.recipe.epochs)
    record = _Record(trainer, spread, goal, keep, rungs, command)
    cost, total = cost_of(goal), trainer.recipe.epochs
    costs = {each.digest: each.trial.scores[cost] for each in spread} if goal.costs else None
    left = {each.digest: Design(each.trial.architecture, each.trial.origin) for each in spread}
    for rung in rungs:
        jobs = {digest: trainer.job(design, "scratch", until=rung.epochs) for digest, design in left.items()}
        for job in jobs.values():
            record.take_over(job)
        waiting = [job for digest, job in jobs.items() if record.accuracy(digest, rung.epochs) is None]
        trainer.train(waiting, f"halving to epoch {rung.epochs} of {total}", on_epoch=record.add)
        accuracies = {digest: record.accuracy(digest, rung.epochs) or 0.0 for digest in left}
        kept = select_survivors(accuracies, costs, rung.keep)
        images = len(trainer.data.val)
        best = ", ".join(f"{digest} {format_accuracy(accuracies[digest], images)}" for digest in kept)
        log.say(f"after {rung.epochs} of {total} epochs {len(kept)} of {len(left)} designs go on: {best}")
        for digest in left.keys() - set(kept):
            record.drop(digest, rung.epochs)
            _remove(jobs[digest])
        left = {digest: left[digest] for digest in kept}
    if len(left) > keep:  # too few epochs to be paused: there is the supernet's word alone
        known = {each.digest: each.merit for each in spread if each.digest in left}
        kept = select_survivors(known, costs, keep)
        for digest in left.keys() - set(kept):
            record.drop(digest, 0)
        left = {digest: left[digest] for digest in kept}
    return list(left.values())


def _remove(job: RetrainingJob) -> None:
    """Remove what a training left that does not go on, unless it was finished before."""
    if not job.result_file.exists():
        shutil.rmtree(job.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # the other mode is there
            job.folder.parent.rmdir()


class _Record:
    """What ``halving.json`` holds; written with everything that is learned."""

    def __init__(
        self,
        trainer: Trainer,
        spread: Sequence[Spread],
        goal: Goal,
        keep: int,
        rungs: Sequence[Rung],
        command: Sequence[str],
    ) -> None:
        self.study, cost = trainer.study, cost_of(goal)
        about = {
            "recipe": asdict(trainer.recipe),
            "images": trainer.study.images_digest(trainer.data),
            "teacher": None if trainer.teacher is None else trainer.teacher.digest,
        }
        if (step := name_step(trainer.own.training_step)) is not None:
            about["training_step"] = step
        earlier = self.study.halving() or {}
        known = (
            {each["digest"]: each["val_top1"] for each in earlier["candidates"]}
            if earlier.get("about") == about
            else {}
        )
        self.content: dict[str, Any] = {
            "about": about,
            "epochs": trainer.recipe.epochs,
            "keep": keep,
            "rungs": [asdict(rung) for rung in rungs],
            "cost": cost,
            "val_images": len(trainer.data.val),
            "candidates": [
                {
                    "digest": each.digest,
                    "origin": each.trial.origin,
                    "why": each.why,
                    "design": str(each.trial.architecture),
                    "macs": each.trial.scores["macs"],
                    "cost": each.trial.scores[cost],
                    "supernet_top1": each.trial.scores["top1"],
                    "merit": each.merit,
                    "on_front": each.on_front,
                    "val_top1": dict(known.get(each.digest, {})),
                    "out_after": None,
                }
                for each in spread
            ],
            "provenance": provenance(trainer.recipe.seed, list(command)),
        }
        self._entries = {entry["digest"]: entry for entry in self.content["candidates"]}
        self._write()

    def _write(self) -> None:
        write_json(self.study.halving_file, self.content)

    def accuracy(self, digest: str, epoch: int) -> float | None:
        """Return the validation accuracy of a design after an epoch, or None where it is not known."""
        found: float | None = self._entries[digest]["val_top1"].get(str(epoch))
        return found

    def add(self, job: RetrainingJob, epoch: int, top1: float) -> None:
        """Note the accuracy of a design where it pauses."""
        if epoch == job.last_epoch:
            self._entries[job.architecture.digest]["val_top1"][str(epoch)] = top1
            self._write()

    def take_over(self, job: RetrainingJob) -> None:
        """Note what a training that was finished before had reached where it would have paused."""
        if job.is_finished:
            for row in read_history(job.folder / FILE_NAME, Epoch):
                self.add(job, row.epoch, row.val_top1)

    def drop(self, digest: str, epoch: int) -> None:
        """Note that a design does not go on."""
        self._entries[digest]["out_after"] = epoch
        self._write()
