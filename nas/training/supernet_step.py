"""One training step of a supernet: forward and backward of the paths that the sampling policy chooses for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.runtime.device import autocast
from nas.study.settings import Settings
from nas.training.compiled import eager_on_short_batches
from nas.training.loop import ForwardBackward
from supernet import sampling
from supernet.supernet import Supernet


def supernet_step(
    supernet: Supernet, settings: Settings, device: torch.device, shards: int = 1, all_shards: int = 1
) -> ForwardBackward:
    """Return the forward and backward of one step.

    Args:
        supernet: What trains; its blocks are compiled from now on if the settings say so.
        settings: Policy, seed and recipe.
        device: Where it trains.
        shards: How many of the shards of a batch the images of a step hold.
        all_shards: How many shards a batch has, over all workers.
    """
    sample_paths, recipe = sampling.policy(settings.policy), settings.recipe
    parameters = list(supernet.parameters())

    def run_shard(paths: Sequence[sampling.SampledPath], images: Tensor, labels: Tensor) -> float:
        """Add the gradients of one shard of the images; return the mean loss of the paths."""
        mean_loss, teacher = 0.0, None
        for path in paths:
            with autocast(device):
                logits = supernet(images, path.architecture).float()
                if path.learns_from == "teacher" and teacher is not None:
                    loss = -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
                else:
                    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                    teacher = logits.detach().softmax(dim=1)
            (loss / (len(paths) * all_shards)).backward()
            mean_loss += loss.item() / len(paths)
        return mean_loss

    def forward_backward(step: int, images: Tensor, labels: Tensor) -> float:
        paths, loss = sample_paths(supernet.space, settings.seed, step), 0.0
        sums: dict[nn.Parameter, Tensor] = {}
        for shard in range(shards):
            loss += run_shard(paths, images[shard::shards], labels[shard::shards]) / shards
            if shards > 1:  # added shard by shard, as ranks do it, not path by path
                _move_gradients(parameters, sums)
        for parameter, gradient in sums.items():
            parameter.grad = gradient
        return loss

    if not settings.compile:
        return forward_backward
    supernet.compile_blocks()
    return eager_on_short_batches(forward_backward, recipe.batch_size // all_shards * shards)


def _move_gradients(parameters: Sequence[nn.Parameter], sums: dict[nn.Parameter, Tensor]) -> None:
    """Add the gradients of parameters to ``sums``, leaving the parameters none."""
    for parameter in parameters:
        if parameter.grad is not None:
            sums[parameter] = sums[parameter] + parameter.grad if parameter in sums else parameter.grad
            parameter.grad = None
