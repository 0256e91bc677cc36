"""One training step of a supernet: forward and backward of the paths that the sampling policy chooses for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.runtime.device import autocast
from nas.study.settings import Settings
from nas.training.compiled import eager_on_short_batches
from nas.training.criterion import Criterion
from nas.training.loop import ForwardBackward
from nas.training.sharded_step import SumOverWorkers, sharded_step
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
) -> ForwardBackward:
    """Return the forward and backward of one step; every worker runs the same paths on its shards.

    Args:
        supernet: What trains; its blocks are compiled from now on if the settings say so.
        settings: Policy, seed and recipe.
        device: Where it trains.
        shards: How many of the shards of a batch this worker has.
        all_shards: How many shards a batch has, over all workers.
        rank: Number of this worker.
        sum_over_workers: Sums over the workers; None where this is the only one.
    """
    sample_paths, criterion = (
        sampling.policy(settings.policy),
        Criterion(settings.recipe, supernet.space.num_classes),
    )

    def run_shard(step: int, shard: int, images: Tensor, labels: Tensor) -> Tensor:
        images, targets = criterion.prepare(step, shard, images, labels)
        paths = sample_paths(supernet.space, settings.seed, step)
        mean_loss, teacher = images.new_zeros((), dtype=torch.float32), None
        for path in paths:
            with autocast(device):
                logits = supernet(images, path.architecture).float()
                if path.learns_from == "teacher" and teacher is not None:
                    loss = -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
                else:
                    loss = criterion.loss(logits, targets)
                    teacher = logits.detach().softmax(dim=1)
            (loss / (len(paths) * all_shards)).backward()
            mean_loss += loss.detach() / len(paths)
        return mean_loss

    forward_backward = sharded_step(run_shard, supernet, shards, all_shards, rank, sum_over_workers)
    if not settings.compile:
        return forward_backward
    supernet.compile_blocks()
    return eager_on_short_batches(forward_backward, settings.recipe.batch_size // all_shards * shards)
