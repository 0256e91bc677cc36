"""Forward and backward of a batch, shard by shard: the same sums on one worker as on many.

A worker runs its shards in turn. Gradients, the loss and the changes of BatchNorm statistics are summed over its
shards and then over the workers, so that every worker leaves with those of the whole batch. BatchNorm counts a step
once, in however many shards it is taken.

It uses private names of torch, ``_foreach_*``, which its optimizers are made of. They take a list of tensors at once;
one by one the statistics of all BatchNorms of a supernet took a noticeable share of a small step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nas.runtime.device import seed_generators
from nas.training.loop import ForwardBackward

#: ``(step, number of the shard in the whole batch, images, labels) -> loss``: adds the gradients of that loss, divided
#: by the number of shards, to those of the parameters; returns the loss, detached and undivided.
RunShard = Callable[[int, int, Tensor, Tensor], Tensor]
#: Replaces tensors by their sums over all workers.
SumOverWorkers = Callable[[Sequence[Tensor]], None]

#: torch's generator on CPUs takes the lower 32 bits of a seed. This is 2**32 over the golden ratio, so that the seeds
#: of up to 64 shards are over 20 million steps apart.
_SHARD_STRIDE = 0x9E3779B1


def sharded_step(
    run_shard: RunShard,
    network: nn.Module,
    shards: int = 1,
    all_shards: int = 1,
    rank: int = 0,
    sum_over_workers: SumOverWorkers | None = None,
) -> ForwardBackward:
    """Return the forward and backward of one step.

    Args:
        run_shard: What is done with a shard.
        network: What it trains.
        shards: How many of the shards of a batch this worker has.
        all_shards: How many shards a batch has, over all workers.
        rank: Number of this worker.
        sum_over_workers: Sums over the workers; None where this is the only one.
    """
    parameters, workers = list(network.parameters()), all_shards // shards
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    counts = [buffer for name, buffer in network.named_buffers() if name.endswith("num_batches_tracked")]
    before = [buffer.clone() for buffer in statistics] if all_shards > 1 else []
    changes = [torch.zeros_like(buffer) for buffer in before]
    counts_before = [buffer.clone() for buffer in counts] if shards > 1 else []

    def forward_backward(step: int, images: Tensor, labels: Tensor) -> Tensor:
        # Lists at once: a supernet has many BatchNorms, and a path a few of them.
        if before:
            torch._foreach_copy_(before, statistics)
            torch._foreach_zero_(changes)
        if counts_before:
            torch._foreach_copy_(counts_before, counts)
        sums: dict[nn.Parameter, Tensor] = {}
        loss = images.new_zeros(1, dtype=torch.float32)
        for shard in range(shards):
            if counts_before:
                torch._foreach_copy_(counts, counts_before)
            number = rank + workers * shard
            loss += run_shard(step, number, images[shard::shards], labels[shard::shards]) / all_shards
            if shards > 1:  # added shard by shard, as workers do it, not path by path
                _move_gradients(parameters, sums)
            if before:
                changed = torch._foreach_sub(statistics, before)
                torch._foreach_div_(changed, all_shards)
                torch._foreach_add_(changes, changed)
                torch._foreach_copy_(statistics, before)
        for parameter, gradient in sums.items():
            parameter.grad = gradient
        if sum_over_workers is not None:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            sum_over_workers([*gradients, *changes, loss])
        if before:
            torch._foreach_add_(statistics, changes)
        return loss.squeeze(0)

    return forward_backward


def meet_workers(world: int) -> SumOverWorkers | None:
    """Wait until all ranks of this process's group are here; return how they sum tensors, None where it is alone.

    Nobody overwrites the checkpoint before all have read it.
    """
    if world == 1:
        return None
    from torch import distributed

    distributed.barrier()
    return _sum_over_group


def _sum_over_group(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over the ranks of this process's group."""
    from torch import distributed

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    sums = flat.split([tensor.numel() for tensor in tensors])
    for tensor, summed in zip(tensors, sums, strict=True):
        tensor.copy_(summed.view_as(tensor))


def seed_shard(seed: int, step: int, shard: int) -> None:
    """Seed torch for one shard of a step: what is random then does not depend on which worker has it."""
    seed_generators((seed * 1_000_003 + step + shard * _SHARD_STRIDE) % 2**32)


def _move_gradients(parameters: Sequence[nn.Parameter], sums: dict[nn.Parameter, Tensor]) -> None:
    """Add the gradients of parameters to ``sums``, leaving the parameters none."""
    for parameter in parameters:
        if parameter.grad is not None:
            sums[parameter] = sums[parameter] + parameter.grad if parameter in sums else parameter.grad
            parameter.grad = None
