"""What is asked of a teacher once, before it teaches: its accuracy, and its answers where they are to be kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas.data.dataset import Data
from nas.evaluation.accuracy import AccuracyMeter, evaluation_batch_size
from nas.runtime import interrupt
from nas.runtime.documents import read_document
from nas.runtime.files import write_json
from nas.runtime.uncertainty import Accuracy, error_fields
from nas.study.documents import TeacherRecord
from nas.training.stored_answers import ANSWER_TYPE, digest_images, has_answers, write_answers
from nas.training.teacher import Teacher


@dataclass(frozen=True)
class Examination:
    """A teacher to be examined, as far as that was not done before.

    Args:
        teacher: The teacher.
        data: The images that it is to teach.
        folder: Where what is found is kept.
        keeps_answers: Whether its answers about the training images are wanted.
    """

    teacher: Teacher
    data: Data
    folder: Path
    keeps_answers: bool

    def in_folder(self, folder: Path) -> Examination:
        """Return the same examination with its files in another folder."""
        return replace(self, folder=folder)

    @property
    def record_file(self) -> Path:
        """Who it is and how good."""
        return self.folder / f"{self.teacher.digest[:16]}.json"

    @property
    def answers_file(self) -> Path:
        """Its answers, as `nas.training.stored_answers` writes them."""
        return self.folder / f"{self.teacher.digest[:16]}.safetensors"

    def read_accuracy(self) -> Accuracy | None:
        """Return its accuracy on these validation images; None where it was not measured.

        Raises:
            StudyError: If the file is damaged.
        """
        if not self.record_file.exists():
            return None
        record = read_document(self.record_file, TeacherRecord)
        if (record["digest"], record["images"]) != (self.teacher.digest, digest_images(self.data)):
            return None
        return Accuracy(record["val_top1"], record["val_images"])

    @property
    def lacks_answers(self) -> bool:
        """Whether answers are wanted and not there, or those of another teacher or about other images are."""
        return self.keeps_answers and not has_answers(self.answers_file, self.teacher, self.data)

    @property
    def total(self) -> int:
        """Images that there are to ask about."""
        asked = len(self.data.val) if self.read_accuracy() is None else 0
        return asked + (len(self.data.train) if self.lacks_answers else 0)


def examine_teacher(
    examination: Examination,
    device: torch.device,
    on_progress: Callable[[int], None],
    rank: int = 0,
    world: int = 1,
) -> None:
    """Ask a teacher what is not known of it yet and write that down; runs in one worker.

    Args:
        examination: What is wanted.
        device: Where it is asked.
        on_progress: Called with the number of images that it was asked about.
        rank: Number of this rank, the only one.
        world: Number of ranks.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If its answers cannot be kept.
    """
    teacher, data = examination.teacher, examination.data
    ask, done = teacher.on(device, data), 0
    _, height, width = teacher.input_size
    batch_size = evaluation_batch_size((height, width))
    if examination.read_accuracy() is None:
        meter = AccuracyMeter()
        for images, labels in data.val.batches(batch_size, device=device):
            interrupt.check()
            meter.add(ask(images), labels)
            on_progress(done := done + len(images))
        top1 = meter.scores()["top1"]
        record = {
            "name": teacher.name,
            "digest": teacher.digest,
            "images": digest_images(data),
            "val_top1": top1,
            **error_fields("val_top1", top1, len(data.val)),
            "val_images": len(data.val),
        }
        write_json(examination.record_file, record)
    if examination.lacks_answers:
        logits, first = torch.empty((len(data.train), teacher.num_classes), dtype=ANSWER_TYPE), 0
        for images, _ in data.train.batches(batch_size, device=device):
            interrupt.check()
            logits[first : first + len(images)] = ask(images).to(ANSWER_TYPE).cpu()
            first += len(images)
            on_progress(done := done + len(images))
        write_answers(examination.answers_file, teacher, data, logits)
