"""What a network is trained to answer: the loss of logits on a shard of images."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from nas.study.recipe import Recipe
from nas.training.distillation import hard_loss, soft_loss


class Criterion:
    """The loss of a recipe.

    Args:
        recipe: Its numbers.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def prepare(self, step: int, shard: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images ``(B, C, H, W)`` to train on and what to answer, which `loss` understands.

        Args:
            step: Number of the step.
            shard: Number of the shard in the batch of all workers.
            images: The shard's images.
            labels: Their classes ``(B,)``.
        """
        return images, labels

    def loss(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """Return the mean loss of logits ``(B, classes)``, computed in float32.

        Args:
            logits: Of the network.
            targets: What `prepare` returned.
            teacher_logits: What a teacher answers to the images that `prepare` returned; None without a teacher.
        """
        recipe = self.recipe
        of_labels = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
        if teacher_logits is None:
            return of_labels
        if recipe.distillation == "hard":
            of_teacher = hard_loss(logits, teacher_logits)
        else:
            of_teacher = soft_loss(logits, teacher_logits, recipe.temperature)
        return (1 - recipe.teacher_weight) * of_labels + recipe.teacher_weight * of_teacher
