"""One training step of a supernet: forward and backward of the paths that the sampling policy chooses for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.runtime.device import autocast
from nas.study.settings import Settings
from nas.training.compiled import eager_on_short_batches
from nas.training.criterion import Criterion
from nas.training.lesson import prepare_lesson
from nas.training.loop import ForwardBackward
from nas.training.sharded_step import SumOverWorkers, seed_shard, sharded_step
from nas.training.stored_answers import Teaching
from supernet import sampling
from supernet.supernet import Supernet


def supernet_step(
    supernet: Supernet,
    settings: Settings,
    device: torch.device,
    shards: int = 1,
    all_shards: int = 1,
    rank: int = 0,
    sum_over_workers: SumOverWorkers | None = None,
    teaching: Teaching | None = None,
) -> ForwardBackward:
    """Return the forward and backward of one step; every worker runs the same paths on its shards.

    A teacher teaches the paths that learn from labels; those that a policy has learn from the step's first path do so
    all the same.

    Args:
        supernet: What trains; its blocks are compiled from now on if the settings say so.
        settings: Policy, seed and recipe.
        device: Where it trains.
        shards: How many of the shards of a batch this worker has.
        all_shards: How many shards a batch has, over all workers.
        rank: Number of this worker.
        sum_over_workers: Sums over the workers; None where this is the only one.
        teaching: A teacher's answers; None without one.
    """
    sample_paths, criterion = (
        sampling.policy(settings.policy, settings.paths),
        Criterion(settings.recipe, supernet.space.num_classes),
    )

    def run_shard(step: int, shard: int, images: Tensor, labels: Tensor) -> Tensor:
        lesson = prepare_lesson(criterion, teaching, step, shard, images, labels)
        paths = sample_paths(supernet.space, settings.seed, step)
        mean_loss, first_answer = images.new_zeros((), dtype=torch.float32), None
        seed_shard(settings.recipe.seed, step, shard)  # stochastic depth
        for path in paths:
            with autocast(device):
                logits = supernet(lesson.images, path.architecture, settings.recipe.drop_path).float()
                if path.learns_from == "teacher" and first_answer is not None:
                    loss = -(first_answer * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
                else:
                    loss = criterion.loss(logits, *lesson[1:])
                    first_answer = logits.detach().softmax(dim=1)
            (loss / (len(paths) * all_shards)).backward()
            mean_loss += loss.detach() / len(paths)
        return mean_loss

    forward_backward = sharded_step(run_shard, supernet, shards, all_shards, rank, sum_over_workers)
    if not settings.compile:
        return forward_backward
    supernet.compile_blocks()
    return eager_on_short_batches(forward_backward, settings.recipe.batch_size // all_shards * shards)
