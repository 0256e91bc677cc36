"""One training step of a supernet: forward and backward of the paths that the sampling policy chooses for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.runtime.device import autocast
from nas.study.settings import Settings
from nas.training.compiled import eager_on_short_batches
from nas.training.criterion import Criterion
from nas.training.lesson import prepare_lesson
from nas.training.loop import ForwardBackward
from nas.training.sharded_step import SumOverWorkers, seed_shard, sharded_step
from nas.training.stored_answers import Teaching
from nas.training.training_step import TrainingStep, batch_of, batch_to_imitate, compute_loss, recipe_step
from search_spaces.architecture import Architecture
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
    training_step: TrainingStep = recipe_step,
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
        training_step: What is minimised for every path.
    """
    sample_paths, criterion = (
        sampling.policy(settings.policy, settings.paths),
        Criterion(settings.recipe, supernet.space.num_classes),
    )

    def run_shard(step: int, shard: int, images: Tensor, labels: Tensor) -> Tensor:
        lesson = prepare_lesson(criterion, teaching, step, shard, images, labels)
        paths = sample_paths(supernet.space, settings.seed, step)
        mean_loss = images.new_zeros((), dtype=torch.float32)
        answer: Tensor | None = None
        batch = batch_of(lesson, criterion, step)
        seed_shard(settings.recipe.seed, step, shard)  # stochastic depth
        for path in paths:
            network = PathNetwork(supernet, path.architecture, settings.recipe.drop_path)
            imitated = answer if path.learns_from == "teacher" else None
            with autocast(device):
                own = batch if imitated is None else batch_to_imitate(batch, imitated)
                loss = compute_loss(training_step, network, own)
            if imitated is None:
                answer = network.answer_to(batch.images)
            (loss / (len(paths) * all_shards)).backward()
            mean_loss += loss.detach() / len(paths)
        return mean_loss

    forward_backward = sharded_step(run_shard, supernet, shards, all_shards, rank, sum_over_workers)
    if not settings.compile:
        return forward_backward
    supernet.compile_blocks()
    return eager_on_short_batches(forward_backward, settings.recipe.batch_size // all_shards * shards)


class PathNetwork(nn.Module):
    """A path of a supernet as a network, which remembers what it answered.

    Args:
        supernet: The supernet, whose parameters are those of all paths.
        architecture: The path.
        drop_path: Largest rate of stochastic depth.
    """

    def __init__(self, supernet: Supernet, architecture: Architecture, drop_path: float) -> None:
        super().__init__()
        self.supernet, self.architecture, self.drop_path = supernet, architecture, drop_path
        self._answers: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits in float32."""
        logits: Tensor = self.supernet(images, self.architecture, self.drop_path).float()
        self._answers.append((images, logits.detach()))
        return logits

    def answer_to(self, images: Tensor) -> Tensor | None:
        """Return the logits that it first had for these very images; None where it was not asked about them."""
        return next((logits for asked, logits in self._answers if asked is images), None)
