"""Optimizer and learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from nas.study.recipe import Recipe

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler


def create_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """Return AdamW over two groups: matrices, kernels and tables, which decay, and norms and biases, which do not."""
    # timm takes seconds to import, which workers that only evaluate are spared.
    from timm.optim import create_optimizer_v2, param_groups_weight_decay

    # Not what the network's `no_weight_decay` would leave out: all recipes here were measured with tables that decay.
    groups = param_groups_weight_decay(network, recipe.weight_decay)
    return create_optimizer_v2(groups, opt="adamw", lr=recipe.lr, weight_decay=0.0, fused=True)


def create_schedule(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int) -> Scheduler:
    """Return the schedule: at each step a rate, rising linearly in the warm-up and then on a cosine over all steps.

    The cosine begins with the training, not after the warm-up, as the recipes of the field have it.
    """
    from timm.scheduler import create_scheduler_v2

    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=count_warmup_epochs(recipe),
        warmup_lr=recipe.lr / 100 if recipe.warmup_lr is None else recipe.warmup_lr,
        min_lr=recipe.lr / 100 if recipe.min_lr is None else recipe.min_lr,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    assert schedule is not None  # there is one of every name but "none"
    return schedule


def count_warmup_epochs(recipe: Recipe) -> int:
    """Return the epochs of the warm-up: as many as the recipe says, or its share of all, rounded up."""
    return math.ceil(recipe.warmup * recipe.epochs) if recipe.warmup_epochs is None else recipe.warmup_epochs
