"""Recipe: every number of a training."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace

from nas.study.setting import declared_settings, setting
from search_spaces.errors import RequestError


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:  # NaN is not
        raise RequestError(f"{name} must be a positive number, not {value:g}")


def _check_below_one(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise RequestError(f"{name} must be at least 0 and below 1, not {value:g}")


def _check_area(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise RequestError(f"{name} must be a share above 0 and at most 1, not {value:g}")


def _check_rand_augment(name: str, text: str) -> None:
    if not re.fullmatch(r"rand(-[a-z]+[\d.]*)*", text):
        raise RequestError(f"{name} must be as timm writes it, such as rand-m9-mstd0.5-inc1, not '{text}'")


def _check_points(name: str, points: tuple[tuple[float, float], ...]) -> None:
    sizes = [params for params, _ in points]
    if not points or sizes[0] <= 0 or any(one >= other for one, other in itertools.pairwise(sizes)):
        raise RequestError(
            f"{name} must be [parameters, rate] of ever more parameters, such as [[24000000, 0.2], [56000000, 0.3]]"
        )
    for _, rate in points:
        _check_below_one(f"{name}: a rate", rate)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; each field says what it means.

    The shards belong to the recipe, not to the machine: BatchNorms see one shard at a time, and the sums do
    not depend on the number of workers.
    """

    epochs: int = setting(40, "Passes over the training images.", minimum=1)
    batch_size: int = setting(128, "Images a step, over all workers.", minimum=2)
    shards: int = setting(
        1,
        "Equal parts of a batch whose gradients are computed apart and summed, by as many workers as there are "
        "or by fewer in turn.",
        minimum=1,
    )
    lr: float = setting(2e-3, "Peak learning rate of AdamW.", check=_check_positive)
    weight_decay: float = setting(
        0.05, "Decay of matrices and kernels; norms, biases and tables are not decayed.", minimum=0
    )
    warmup: float = setting(
        0.1,
        "Share of the steps in which the rate rises linearly; then it falls as a cosine.",
        minimum=0,
        maximum=1,
    )
    label_smoothing: float = setting(
        0.1, "Share of the target spread over all classes.", minimum=0, maximum=1
    )
    clip_grad: float = setting(5.0, "Largest norm of the gradient; 0 for no limit.", minimum=0)
    ema_decay: float = setting(
        0.998,
        "Decay of the moving average of the weights, which is what is evaluated; it rises to that in the first steps. "
        "0 for the weights themselves.",
        check=_check_below_one,
    )
    drop_path: float = setting(
        0.0,
        "Probability that the last block of a network, or of a supernet's path, is left out of an image; it rises to "
        "that linearly over the blocks (stochastic depth).",
        check=_check_below_one,
    )
    seed: int = setting(0, "Seed of weights, batches and paths.", minimum=0, maximum=2**32 - 1)
    warmup_epochs: int | None = setting(
        None, "Epochs in which the rate rises; the share of warmup if null.", minimum=0
    )
    warmup_lr: float | None = setting(None, "Rate of the first step; a hundredth of lr if null.", minimum=0)
    min_lr: float | None = setting(None, "Rate at the end; a hundredth of lr if null.", minimum=0)
    mixup: float = setting(0.0, "Alpha of Mixup (arXiv 1710.09412); 0 for none.", minimum=0)
    cutmix: float = setting(0.0, "Alpha of CutMix (arXiv 1905.04899); 0 for none.", minimum=0)
    mixup_prob: float = setting(
        1.0,
        "Probability that the images of a shard are mixed, where any mixing is on.",
        minimum=0,
        maximum=1,
    )
    mixup_switch_prob: float = setting(
        0.5, "Probability of CutMix rather than Mixup where both are on.", minimum=0, maximum=1
    )
    rand_augment: str | None = setting(
        None,
        "RandAugment (arXiv 1909.13719) as timm writes it, e.g. rand-m9-mstd0.5-inc1; null for none.",
        check=_check_rand_augment,
    )
    color_jitter: float = setting(
        0.0,
        "Largest change of brightness, contrast and saturation; RandAugment takes its place.",
        minimum=0,
    )
    random_erasing: float = setting(
        0.0, "Probability of erasing a part of an image (arXiv 1708.04896).", minimum=0, maximum=1
    )
    repeated_augmentation: int = setting(
        1,
        "Differently varied copies of each image in a batch (arXiv 1901.09335); 1 for none.",
        minimum=1,
    )
    crop_area: float | None = setting(
        None,
        "Least share of the area that a random crop keeps; that of the images' own augmentation if null.",
        check=_check_area,
    )
    interpolation: str = setting(
        "bicubic", "How training images are resized.", choices=("bicubic", "bilinear", "random")
    )
    distillation: str = setting(
        "soft",
        "What is learned from a teacher, its probabilities or its first class.",
        choices=("soft", "hard"),
    )
    temperature: float = setting(1.0, "Temperature of soft distillation.", check=_check_positive)
    teacher_weight: float = setting(
        0.5, "Share of the teacher in the loss; the rest is the labels'.", minimum=0, maximum=1
    )
    teacher_images: str = setting(
        "varied",
        "Which images a teacher is asked about: those of every step, varied and mixed as its student's are, or once "
        "about each clean one, its answers being kept in the study.",
        choices=("varied", "clean"),
    )
    drop_path_by_params: tuple[tuple[float, float], ...] | None = setting(
        None,
        "drop_path of a retrained network by its parameters, as [parameters, rate] points: linear between them, from 0 "
        "below the first, that of the last above it; null for drop_path whatever the size.",
        check=_check_points,
    )

    def validate(self, name: str) -> None:
        """Check every number.

        Args:
            name: What the sentence calls the recipe.

        Raises:
            RequestError: If a number is out of its range; the sentence names it.
        """
        for each in declared_settings(Recipe):
            each.validate(getattr(self, each.name), f"{name}.{each.name}")
        if self.shards > self.batch_size // 2:
            raise RequestError(
                f"{name}.shards must be from 1 to half of batch_size ({self.batch_size}), not {self.shards}"
            )
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise RequestError(
                f"{name}.warmup_epochs must not be more than epochs ({self.epochs}), not {self.warmup_epochs}"
            )


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe of other epochs; a shorter training has a shorter warm-up, in proportion."""
    warmup = recipe.warmup_epochs
    if warmup is not None and epochs < recipe.epochs:
        warmup = math.ceil(warmup * epochs / recipe.epochs)
    return replace(recipe, epochs=epochs, warmup_epochs=warmup)


def for_params(recipe: Recipe, params: int) -> Recipe:
    """Return the recipe of one network of ``params`` parameters: its drop path is by its size."""
    points = recipe.drop_path_by_params
    if points is None:
        return recipe
    (below, low), rate = (0.0, 0.0), points[-1][1]
    for size, high in points:
        if params <= size:
            rate = low + (high - low) * (params - below) / (size - below)
            break
        below, low = size, high
    return replace(recipe, drop_path=rate, drop_path_by_params=None)
