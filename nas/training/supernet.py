"""Training the supernet, in this process or by a team of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.dataset import Data
from nas.study.settings import Settings
from nas.training.augmentation import recipe_augmentation
from nas.training.loop import EpochBatches, Training
from nas.training.pretrained import PretrainedStart, initialize_supernet
from nas.training.sharded_step import sum_over_workers
from nas.training.supernet_checkpoint import checkpoint_identity
from nas.training.supernet_progress import TrainingProgress, progress_bar, with_image_rates
from nas.training.supernet_step import supernet_step
from nas.training.teacher import Teacher
from search_spaces.space import Space
from supernet.supernet import Supernet


@dataclass(frozen=True)
class SupernetTask:
    """A supernet to train.

    Args:
        space: What it holds.
        settings: Policy, sharing, recipe and seed.
        data: Images.
        checkpoint: Where its state is kept; every rank of a team reads it, the first writes it.
        starts: Published networks that a new training starts from.
        identities: What the checkpoint may belong to, as `checkpoint_identity` returns it; a new one belongs to the
            first. None of them where settings and images say it.
        teacher: What teaches it beside the labels, or None.
    """

    space: Space
    settings: Settings
    data: Data
    checkpoint: Path
    starts: tuple[PretrainedStart, ...] = ()
    identities: tuple[str, ...] = ()
    teacher: Teacher | None = None


def train_supernet(
    space: Space,
    settings: Settings,
    data: Data,
    checkpoint: Path,
    device: torch.device,
    starts: Sequence[PretrainedStart] = (),
    identities: Sequence[str] = (),
    teacher: Teacher | None = None,
) -> Supernet:
    """Train the supernet of ``space`` in this process, from its checkpoint if there is one.

    Args:
        space: What it holds.
        settings: Policy, sharing, recipe and seed.
        data: Images.
        checkpoint: Where its state is kept.
        device: Where to train.
        starts: Published networks that a new training starts from.
        identities: See `SupernetTask`.
        teacher: What teaches it beside the labels, or None.

    Returns:
        The average of the weights over the training.

    Raises:
        Interrupted: If the user asked to stop; the state is saved.
        CheckpointError: If the checkpoint is damaged or belongs to something else.
    """
    task = SupernetTask(space, settings, data, checkpoint, tuple(starts), tuple(identities), teacher)
    training, supernet = _open_training(task, device)
    if training.step < training.total_steps:
        shards = count_shards(settings, data)
        ask = None if teacher is None else teacher.on(device, data)
        forward_backward = supernet_step(supernet, settings, device, shards, shards, ask_teacher=ask)
        batches = _epoch_batches(data, settings, device)
        with progress_bar(training.step, training.total_steps) as on_progress:
            on_step = with_image_rates(training, batches, on_progress)
            training.run(forward_backward, batches, on_progress=on_step)
    trained: Supernet = training.averaged_network  # type: ignore[assignment]
    return trained.eval()


def train_rank(
    task: SupernetTask,
    rank: int,
    world: int,
    device: torch.device,
    on_progress: Callable[[TrainingProgress], None],
) -> None:
    """Train as one rank of a team: every rank runs the same paths on its shards of each batch.

    Two ranks give what one process gives, bit for bit, if each has one thread; more than two add floats in
    another order.
    """
    from torch import distributed

    training, supernet = _open_training(task, device)
    distributed.barrier()  # nobody overwrites the checkpoint before all have read it

    batches = _epoch_batches(task.data, task.settings, device, rank, world)
    shards = count_shards(task.settings, task.data)
    ask = None if task.teacher is None else task.teacher.on(device, task.data)
    training.run(
        supernet_step(supernet, task.settings, device, shards // world, shards, rank, sum_over_workers, ask),
        batches,
        on_progress=with_image_rates(training, batches, on_progress),
        save_checkpoints=rank == 0,
    )


def steps_per_epoch(settings: Settings, data: Data) -> int:
    """Return the steps of an epoch; a last batch too small for two images a shard is left out."""
    least = SHARD_IMAGES * count_shards(settings, data)
    return len(batch_sizes(len(data.train), settings.recipe.batch_size, least))


def count_shards(settings: Settings, data: Data) -> int:
    """Return how many shards each batch is divided into: the recipe's, or what very few images can fill."""
    return usable_shards(len(data.train), settings.recipe.shards)


def _open_training(task: SupernetTask, device: torch.device) -> tuple[Training, Supernet]:
    """Return the training of a supernet, begun or resumed, and the supernet that it trains."""
    space, settings = task.space, task.settings
    torch.manual_seed(settings.seed)
    supernet = Supernet(space, settings.sharing)
    if not task.checkpoint.exists():
        initialize_supernet(supernet, task.starts)
    supernet.to(device)
    steps = steps_per_epoch(settings, task.data)
    identities = task.identities or (checkpoint_identity(space, settings, task.data),)
    if task.teacher is not None:
        identities = tuple(f"{identity}/taught by {task.teacher.digest}" for identity in identities)
    identity, *former = identities
    return Training(supernet, settings.recipe, steps, task.checkpoint, identity, former), supernet


def _epoch_batches(
    data: Data, settings: Settings, device: torch.device, rank: int = 0, world: int = 1
) -> EpochBatches:
    augmentation = recipe_augmentation(settings.recipe, data)

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            settings.recipe.batch_size,
            device=device,
            shuffle_seed=settings.seed,
            epoch=epoch,
            augment=augmentation,
            least=SHARD_IMAGES * count_shards(settings, data),
            start=first,
            rank=rank,
            world=world,
        )

    return batches
