"""What a network is to learn from a shard of images: labels and, where it has a teacher, that one's answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nas.training.criterion import Criterion
from nas.training.mixing import Mixing
from nas.training.stored_answers import AnswerTable, Teaching


class Lesson(NamedTuple):
    """What `Criterion.loss` compares a network's answers with.

    Args:
        images: To train on, mixed as the recipe says.
        targets: What to answer, as `Criterion.prepare` returns it.
        teacher_logits: What the teacher answers; None without one.
        mixing: How the images were mixed of those that it answered about; None where those are the same.
    """

    images: Tensor
    targets: Tensor
    teacher_logits: Tensor | None = None
    mixing: Mixing | None = None


def prepare_lesson(
    criterion: Criterion, teaching: Teaching | None, step: int, shard: int, images: Tensor, labels: Tensor
) -> Lesson:
    """Return what is learned from a shard.

    Args:
        criterion: Of the recipe.
        teaching: What answers, or None.
        step: Number of the step.
        shard: Number of the shard in the batch of all workers.
        images: The shard's images.
        labels: Their classes ``(B,)``; their numbers where the answers are looked up.
    """
    if isinstance(teaching, AnswerTable):
        classes, answers = teaching.look_up(labels)
        mixing = criterion.mixing(step, shard, images)
        return Lesson(*criterion.prepare(step, shard, images, classes), answers, mixing)
    images, targets = criterion.prepare(step, shard, images, labels)
    return Lesson(images, targets, None if teaching is None else teaching(images))
