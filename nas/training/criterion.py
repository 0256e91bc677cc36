"""What a network is trained to answer: the loss of logits on a shard of images, mixed or as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.study.recipe import Recipe
from nas.training.distillation import hard_loss, soft_loss
from nas.training.mixing import Mixing

if TYPE_CHECKING:
    from timm.data import Mixup


class Criterion:
    """The loss of a recipe.

    With Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) the images of a shard are mixed with those of the same
    shard in reverse order, all in one proportion, and the targets are rows of probabilities in that proportion.

    Args:
        recipe: Its numbers.
        num_classes: Classes of the images.
    """

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        self.recipe, self.num_classes = recipe, num_classes
        self._mixup = create_mixup(recipe, num_classes)

    def prepare(self, step: int, shard: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images ``(B, C, H, W)`` to train on and what to answer, which `loss` understands.

        Whether, what and how much is mixed is a function of the recipe's seed, the step and the shard.

        Args:
            step: Number of the step.
            shard: Number of the shard in the batch of all workers.
            images: The shard's images, which are left as they are.
            labels: Their classes ``(B,)``.

        Returns:
            Images, and either the labels or, where the recipe mixes images, probabilities ``(B, classes)`` with the
            label smoothing in them.
        """
        if self._mixup is None:
            return images, labels
        paired = len(images) // 2 * 2  # Mixup wants pairs; an odd image is its own partner
        with self._draws_of(step, shard):
            mixed, targets = self._mixup(images[:paired].clone(), labels[:paired])
        if paired == len(images):
            return mixed, targets
        return torch.cat([mixed, images[paired:]]), torch.cat(
            [targets, self._to_probabilities(labels[paired:])]
        )

    def mixing(self, step: int, shard: int, images: Tensor) -> Mixing | None:
        """Return how `prepare` mixes the same shard of images; None where the recipe mixes none."""
        paired = len(images) // 2 * 2
        if self._mixup is None or not paired:
            return None
        # Were each image a class of its own, the targets would be the shares; no pixel is needed to find them.
        mixup = create_mixup(replace(self.recipe, label_smoothing=0.0), paired)
        assert mixup is not None
        with self._draws_of(step, shard):
            _, shares = mixup(torch.empty_like(images[:paired], device="meta"), torch.arange(paired))
        return Mixing(float(shares[0, 0]), paired)

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        teacher_logits: Tensor | None = None,
        mixing: Mixing | None = None,
    ) -> Tensor:
        """Return the mean loss of logits ``(B, classes)``, computed in float32.

        Args:
            logits: Of the network.
            targets: What `prepare` returned.
            teacher_logits: What a teacher answers to the images that `prepare` returned, or to those that it was given;
                None without a teacher.
            mixing: In the latter case, how they were mixed.
        """
        recipe = self.recipe
        smoothing = (
            0.0 if targets.is_floating_point() else recipe.label_smoothing
        )  # probabilities are smoothed
        of_labels = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
        if teacher_logits is None:
            return of_labels
        if recipe.distillation == "hard":
            of_teacher = hard_loss(logits, teacher_logits, mixing)
        else:
            of_teacher = soft_loss(logits, teacher_logits, recipe.temperature, mixing)
        return (1 - recipe.teacher_weight) * of_labels + recipe.teacher_weight * of_teacher

    def _draws_of(self, step: int, shard: int) -> AbstractContextManager[None]:
        """Return a block in which what is drawn belongs to one shard of a step."""
        return _numpy_seed(self.recipe.seed, step, shard)

    def _to_probabilities(self, labels: Tensor) -> Tensor:
        """Return smoothed targets ``(B, classes)`` of images that are not mixed."""
        from timm.data.mixup import mixup_target

        targets: Tensor = mixup_target(labels, self.num_classes, smoothing=self.recipe.label_smoothing)
        return targets


def create_mixup(recipe: Recipe, num_classes: int) -> Mixup | None:
    """Return what mixes images and their labels as a recipe says, or None if it mixes none."""
    if not recipe.mixup and not recipe.cutmix:
        return None
    # timm takes seconds to import, which workers that only evaluate are spared.
    from timm.data import Mixup

    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mixup_prob,
        switch_prob=recipe.mixup_switch_prob,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )


@contextmanager
def _numpy_seed(*seed: int) -> Iterator[None]:
    """Seed NumPy's global random numbers, which timm's Mixup draws from, and put them back afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
