"""What a network is trained to answer: the loss of logits on a shard of images."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from nas.study.recipe import Recipe


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

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of logits ``(B, classes)``, computed in float32."""
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.recipe.label_smoothing)
