"""One training step of a single network: forward and backward of its shards of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.runtime.device import autocast
from nas.study.recipe import Recipe
from nas.training.compiled import eager_on_short_batches
from nas.training.criterion import Criterion
from nas.training.lesson import prepare_lesson
from nas.training.loop import ForwardBackward
from nas.training.sharded_step import SumOverWorkers, seed_shard, sharded_step
from nas.training.stored_answers import Teaching
from nas.training.training_step import TrainingStep, batch_of, compute_loss, recipe_step
from supernet.compile_blocks import compile_blocks
from supernet.network import Network
from supernet.resizing import AtImageSize


def subnet_step(
    network: Network,
    recipe: Recipe,
    device: torch.device,
    shards: int = 1,
    all_shards: int = 1,
    rank: int = 0,
    sum_over_workers: SumOverWorkers | None = None,
    *,
    compile: bool = False,
    teaching: Teaching | None = None,
    image_size: tuple[int, int] | None = None,
    training_step: TrainingStep = recipe_step,
) -> ForwardBackward:
    """Return the forward and backward of one step.

    Args:
        network: What trains.
        recipe: How it is trained.
        device: Where it trains.
        shards: How many of the shards of a batch this worker has.
        all_shards: How many shards a batch has, over all workers.
        rank: Number of this worker.
        sum_over_workers: Sums over the workers; None where this is the only one.
        compile: Whether the network's blocks are compiled from now on.
        teaching: A teacher's answers; None without one.
        image_size: Height and width that images are brought to for the network, not for its teacher; None leaves them.
        training_step: What is minimised.
    """
    criterion = Criterion(recipe, network.num_classes)
    stepped = network if image_size is None else AtImageSize(network, image_size)

    def run_shard(step: int, shard: int, images: Tensor, labels: Tensor) -> Tensor:
        seed_shard(recipe.seed, step, shard)  # stochastic depth
        lesson = prepare_lesson(criterion, teaching, step, shard, images, labels)
        with autocast(device):
            loss = compute_loss(training_step, stepped, batch_of(lesson, criterion, step))
        (loss / all_shards).backward()
        return loss.detach()

    forward_backward = sharded_step(run_shard, network, shards, all_shards, rank, sum_over_workers)
    if not compile:
        return forward_backward
    compile_blocks(network)
    return eager_on_short_batches(forward_backward, recipe.batch_size // all_shards * shards)
