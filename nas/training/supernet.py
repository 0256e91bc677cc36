"""Training the supernet, alone or as one rank of a team."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.dataset import Data
from nas.study.settings import Settings
from nas.training.augmentation import recipe_augmentation
from nas.training.epoch_history import FILE_NAME, EpochHistory, SupernetEpoch
from nas.training.loop import EpochBatches, Training
from nas.training.pretrained import PretrainedStart, initialize_supernet
from nas.training.sharded_step import meet_workers
from nas.training.stored_answers import TrainingTeacher, images_to_teach
from nas.training.supernet_checkpoint import checkpoint_identity
from nas.training.supernet_progress import TrainingProgress, with_image_rates
from nas.training.supernet_step import supernet_step
from nas.training.training_step import TrainingStep, name_step, recipe_step
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
        training_step: What is minimised.
    """

    space: Space
    settings: Settings
    data: Data
    checkpoint: Path
    starts: tuple[PretrainedStart, ...] = ()
    identities: tuple[str, ...] = ()
    teacher: TrainingTeacher | None = None
    training_step: TrainingStep = recipe_step

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint and of the table beside it."""
        return self.checkpoint.parent

    def in_folder(self, folder: Path) -> SupernetTask:
        """Return the same training with its files in another folder."""
        return replace(self, checkpoint=folder / self.checkpoint.name)


def train_rank(
    task: SupernetTask,
    device: torch.device,
    on_progress: Callable[[TrainingProgress], None],
    rank: int = 0,
    world: int = 1,
) -> None:
    """Train in this process, alone or as one rank of a team that runs the same paths on shards of each batch.

    Two ranks give what one process gives, bit for bit, if each has one thread; more than two add floats in
    another order.

    Args:
        task: What to train, from its checkpoint if there is one.
        device: Where to train.
        on_progress: Called after each step.
        rank: Number of this rank; the first writes the checkpoint.
        world: Number of ranks, a divisor of the shards.

    Raises:
        Interrupted: If the user asked to stop; the state is saved.
        CheckpointError: If the checkpoint is damaged or belongs to something else.
    """
    training, supernet = _open_training(task, device)
    sum_over_workers = meet_workers(world)
    if training.step == training.total_steps:
        return
    batches = _epoch_batches(task, device, rank, world)
    shards = count_shards(task.settings, task.data)
    teaching = None if task.teacher is None else task.teacher.on(device, task.data)
    record = _EpochRecord(training)
    on_step = with_image_rates(training, batches, on_progress)

    def on_step_recorded(step: int, loss: float) -> None:
        record.losses.append(loss)
        on_step(step, loss)

    training.run(
        supernet_step(
            supernet,
            task.settings,
            device,
            shards // world,
            shards,
            rank,
            sum_over_workers,
            teaching,
            task.training_step,
        ),
        batches,
        on_progress=on_step_recorded,
        on_epoch=record.write if rank == 0 else record.losses.clear,
        save_checkpoints=rank == 0,
    )


class _EpochRecord:
    """Keeps the losses of a supernet's epoch, and writes them into the table beside its checkpoint.

    Args:
        training: The training; it may have done some epochs before.
    """

    def __init__(self, training: Training) -> None:
        self._training, self.losses = training, list[float]()
        done = training.step // training.steps_per_epoch
        self._history = EpochHistory(training.checkpoint.with_name(FILE_NAME), done, SupernetEpoch)
        self._started = time.monotonic()

    def write(self) -> None:
        """Write the epoch that has just ended, and begin the next."""
        training, now = self._training, time.monotonic()
        lr = training.optimizer.param_groups[0]["lr"]
        epoch = training.step // training.steps_per_epoch
        self._history.add(SupernetEpoch(epoch, fmean(self.losses), lr, now - self._started))
        self.losses.clear()
        self._started = now


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
    if (step := name_step(task.training_step)) is not None:
        identities = tuple(f"{identity}/step {step}" for identity in identities)
    identity, *former = identities
    return Training(supernet, settings.recipe, steps, task.checkpoint, identity, former), supernet


def _epoch_batches(task: SupernetTask, device: torch.device, rank: int = 0, world: int = 1) -> EpochBatches:
    data, settings = task.data, task.settings
    augmentation, images = (
        recipe_augmentation(settings.recipe, data),
        images_to_teach(data.train, task.teacher),
    )

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return images.batches(
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
