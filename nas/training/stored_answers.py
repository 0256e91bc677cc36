"""A teacher's answers about the training images as they are, given once and looked up in every step.

The training needs no teacher then, neither its memory nor its time. Its student still sees the images varied, which
teaches less well than answers about the very images that it sees (Beyer et al., arXiv 2106.05237, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nas.data.dataset import Data
from nas.data.hashing import json_digest
from nas.data.splits import Split
from nas.runtime.files import load_metadata, load_tensors, save_tensors
from nas.runtime.resources import GIB, format_bytes
from nas.runtime.uncertainty import Accuracy
from nas.study.recipe import Recipe
from nas.training.teacher import AskTeacher, NormalizedImages, Teacher
from search_spaces.errors import CheckpointError, RequestError, WorkError

#: Answers are kept in half precision: of a logit of 10 it knows 3 digits behind the point.
ANSWER_TYPE, ANSWER_BYTES = torch.float16, 2
#: Most bytes of answers: every worker has them on its device.
MOST_BYTES = 2 * GIB


@dataclass(frozen=True)
class AnswerTable:
    """Answers on the device of a training, for batches of `Split.numbered`.

    Args:
        logits: ``(N, classes)``, one row a training image in the stored order.
        labels: Classes ``(N,)``.
    """

    logits: Tensor
    labels: Tensor

    def look_up(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return classes ``(B,)`` and logits ``(B, classes)`` of images by their numbers ``(B,)``."""
        return self.labels[numbers], self.logits[numbers].float()


@dataclass(frozen=True)
class StoredAnswers:
    """What a teacher has answered about a set's training images.

    Args:
        name: Of the teacher, for people.
        digest: Of the teacher.
        logits: ``(N, classes)`` in the stored order of the images, float16.
        labels: Classes of the images ``(N,)``.
        accuracy: Of the teacher on the validation images, or None.
    """

    name: str
    digest: str
    logits: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    accuracy: Accuracy | None = None

    def on(self, device: torch.device, images: NormalizedImages) -> AnswerTable:
        """Return them on a device; the images' normalisation does not matter any more."""
        return AnswerTable(self.logits.to(device), self.labels.to(device))


#: A teacher as a training has it: to be asked about every image, or as what it has answered.
TrainingTeacher = Teacher | StoredAnswers
#: The same on a device.
Teaching = AskTeacher | AnswerTable


def images_to_teach(train: Split, teacher: TrainingTeacher | None) -> Split:
    """Return the training images as their batches are wanted: with their numbers, where answers are looked up."""
    return train.numbered() if isinstance(teacher, StoredAnswers) else train


def digest_images(data: Data) -> str:
    """Return the digest of what decides a teacher's answers beside itself: the training images as it sees them."""
    seen = [data.image_size, data.in_channels, data.test_crop, data.reading, data.mean, data.std]
    return json_digest([data.digest, data.train_order, len(data.train), *seen])


def count_bytes(images: int, classes: int) -> int:
    """Return the bytes of stored answers."""
    return images * classes * ANSWER_BYTES


def require_to_fit(recipe: Recipe, name: str, images: int, classes: int) -> None:
    """Check that a recipe that asks for stored answers can have them.

    Args:
        recipe: The recipe of a training with a teacher.
        name: What the sentence calls it.
        images: Training images.
        classes: Their classes.

    Raises:
        RequestError: If they are too many.
    """
    needed = count_bytes(images, classes)
    if recipe.teacher_images == "clean" and needed > MOST_BYTES:
        raise RequestError(
            f"{name}.teacher_images is clean, but the answers about {images} images of {classes} classes take "
            f"{format_bytes(needed)} of each device, above {format_bytes(MOST_BYTES)}; let it be varied"
        )


def write_answers(path: Path, teacher: Teacher, data: Data, logits: Tensor) -> None:
    """Write the answers of a teacher about a set's training images ``(N, classes)``.

    Raises:
        WorkError: If they are not finite, or the file cannot be written.
    """
    if not bool(torch.isfinite(logits).all()):
        raise WorkError(
            f"--teacher {teacher.name} answers with logits that are no numbers below 65504; give another teacher"
        )
    save_tensors(path, {"logits": logits}, _describe(teacher, data))


def has_answers(path: Path, teacher: Teacher, data: Data) -> bool:
    """Return whether a file holds the answers of a teacher about a set's training images.

    Raises:
        CheckpointError: If it is damaged.
    """
    return path.exists() and load_metadata(path) == _describe(teacher, data)


def read_answers(path: Path, teacher: Teacher, data: Data) -> StoredAnswers:
    """Return what `write_answers` wrote.

    Raises:
        CheckpointError: If the file is damaged.
    """
    tensors, _ = load_tensors(path)
    logits, shape = tensors.get("logits"), (len(data.train), teacher.num_classes)
    if logits is None or logits.shape != shape:
        raise CheckpointError(
            f"{path} does not hold answers about {shape[0]} images; delete it to make it anew"
        )
    return StoredAnswers(teacher.name, teacher.digest, logits, data.train.labels, teacher.accuracy)


def _describe(teacher: Teacher, data: Data) -> dict[str, str]:
    return {"teacher": teacher.digest, "images": digest_images(data), "count": str(len(data.train))}
