"""What a step of a training minimises: the recipe's loss, or what a Python program computes in its place.

A step is a function of a network and a batch that returns a loss. The supernet's paths and networks that train alone
are stepped by the same function, on every worker, for each shard of a batch; the mean over the shards is minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.runtime.error_text import first_line
from nas.training.criterion import Criterion
from nas.training.lesson import Lesson
from search_spaces.errors import NasError, RequestError, WorkError


@dataclass(frozen=True)
class TrainingBatch:
    """What a training step is given beside the network.

    Args:
        images: ``(B, C, H, W)``: a worker's share of a batch, normalised, varied and mixed as the recipe says.
        targets: Their classes ``(B,)``; where the recipe mixes images, probabilities ``(B, classes)``.
        teacher_logits: ``(B, classes)`` of who teaches; None where nobody does. Where answers were stored of images
            that are mixed now, the logarithms of probabilities that are mixed likewise.
        step: Number of the step, from 0.
        recipe_loss: Maps logits ``(B, classes)`` to the loss that the recipe has for them: cross-entropy with its label
            smoothing, and the teacher's part.
    """

    images: Tensor
    targets: Tensor
    teacher_logits: Tensor | None
    step: int
    recipe_loss: Callable[[Tensor], Tensor]


#: ``(network, batch) -> loss``, a scalar with a graph. The network maps images ``(B, C, H, W)`` to logits
#: ``(B, classes)``; it is in training mode, and of a supernet it is one path.
TrainingStep = Callable[[nn.Module, TrainingBatch], Tensor]


def recipe_step(network: nn.Module, batch: TrainingBatch) -> Tensor:
    """Return the recipe's loss of a network on a batch: the step of every training that has none of its own."""
    return batch.recipe_loss(network(batch.images))


def name_step(step: TrainingStep | None) -> str | None:
    """Return what a study remembers a step by: the name of its function; None for the recipe's.

    Raises:
        RequestError: If it is no function with a name.
    """
    if step is None or step is recipe_step:
        return None
    name = getattr(step, "__name__", "")
    if not callable(step) or not str(name).isidentifier():
        raise RequestError(
            f"training_step must be a function with a name, such as def my_step(network, batch), not {step!r}"
        )
    return str(name)


def batch_of(lesson: Lesson, criterion: Criterion, step: int) -> TrainingBatch:
    """Return what is learned from a shard as a step is given it."""
    logits = lesson.teacher_logits
    if logits is not None and lesson.mixing is not None:
        logits = lesson.mixing.mix(F.softmax(logits, dim=1)).log()
    return TrainingBatch(
        lesson.images, lesson.targets, logits, step, partial(_recipe_loss, criterion, lesson)
    )


def _recipe_loss(criterion: Criterion, lesson: Lesson, logits: Tensor) -> Tensor:
    return criterion.loss(logits, *lesson[1:])


def batch_to_imitate(batch: TrainingBatch, answer: Tensor) -> TrainingBatch:
    """Return a batch whose recipe's loss is the cross-entropy to another path's logits ``(B, classes)``.

    In-place distillation (Yu & Huang, arXiv 1903.05134): the largest path teaches the others of the same step.
    """
    probabilities = answer.softmax(dim=1)

    def loss(logits: Tensor) -> Tensor:
        return -(probabilities * F.log_softmax(logits, dim=1)).sum(dim=1).mean()

    return TrainingBatch(batch.images, batch.targets, answer, batch.step, loss)


def compute_loss(step: TrainingStep, network: nn.Module, batch: TrainingBatch) -> Tensor:
    """Return the loss of a step.

    Raises:
        WorkError: If a program's own step fails, or returns no scalar with a graph.
    """
    if step is recipe_step:
        return recipe_step(network, batch)
    name = name_step(step)
    try:
        loss: Any = step(network, batch)
    except (NasError, torch.OutOfMemoryError):
        raise
    # A function of somebody's fails in its own way.
    except Exception as error:
        raise WorkError(
            f"training step '{name}' failed ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r:.60}"
        raise WorkError(f"training step '{name}' returned {what}; return the loss, a scalar tensor of floats")
    if not loss.requires_grad:
        raise WorkError(
            f"training step '{name}' returned a loss without a graph; compute it of network(batch.images), and without "
            "detach, item or no_grad"
        )
    return loss


def try_step(step: TrainingStep, network: nn.Module, batch: TrainingBatch) -> None:
    """Take a step once, before a training begins, and leave the network without gradients.

    Raises:
        RequestError: If it fails, returns no finite scalar with a graph, or moves no weight of the network.
    """
    network.train()
    try:
        loss = compute_loss(step, network, batch)
    except WorkError as error:
        raise RequestError(str(error)) from error
    if not math.isfinite(loss.item()):
        raise RequestError(
            f"training step '{name_step(step)}' returned {loss.item()} for an untrained network; return a finite loss"
        )
    loss.backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    network.zero_grad(set_to_none=True)
    if not any(bool(gradient.any()) for gradient in gradients):
        raise RequestError(
            f"training step '{name_step(step)}' returned a loss that moves no weight of the network; compute it of "
            "network(batch.images)"
        )
