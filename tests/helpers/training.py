"""A tiny supernet in training, stopped and resumed at will."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nas.data.dataset import Data
from nas.runtime.files import load_tensors
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.pretrained import PretrainedStart
from nas.training.supernet import SupernetTask, train_rank
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.supernet_progress import progress_bar
from nas.training.supernet_step import supernet_step
from nas.training.teacher import Teacher
from search_spaces.space import Space
from supernet.supernet import Supernet

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=8, lr=2e-3, warmup=0.34)


def train_supernet(
    space: Space,
    settings: Settings,
    data: Data,
    checkpoint: Path,
    device: torch.device = CPU,
    starts: Sequence[PretrainedStart] = (),
    teacher: Teacher | None = None,
) -> Supernet:
    """Train a supernet in this process, as a search does in its workers; return the average of its weights."""
    task = SupernetTask(space, settings, data, checkpoint, tuple(starts), teacher=teacher)
    with progress_bar(*read_progress(checkpoint)) as on_progress:
        train_rank(task, device, on_progress)
    return read_supernet(space, settings.sharing, checkpoint)


def new_training(
    space: Space, settings: Settings, data: Data, checkpoint: Path, identity: str = "it"
) -> Training:
    torch.manual_seed(settings.seed)
    steps = math.ceil(len(data.train) / RECIPE.batch_size)
    return Training(Supernet(space), settings.recipe, steps, checkpoint, identity)


def train_on(
    training: Training, settings: Settings, data: Data, until: int | None = None, **how: object
) -> list[float]:
    """Train on as a search does; return the losses."""
    losses: list[float] = []

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            RECIPE.batch_size, shuffle_seed=settings.seed, epoch=epoch, augment=True, start=first
        )

    step = supernet_step(training.model, settings, CPU)  # type: ignore[arg-type]
    training.run(step, batches, on_progress=lambda done, loss: losses.append(loss), until=until, **how)  # type: ignore[arg-type]
    return losses


def saved_state(training: Training) -> dict[str, Tensor]:
    """Everything of a training, as it is saved."""
    training.save()
    return load_tensors(training.checkpoint)[0]


def equal_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
