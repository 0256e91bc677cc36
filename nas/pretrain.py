"""Training the supernet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.console import bar, log
from nas.data import Data
from nas.files import load_tensors
from nas.settings import Settings
from nas.train import Step, Training, autocast
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from supernet.sampling import policy
from supernet.supernet import Supernet


def identity(space: Space, settings: Settings, data: Data) -> str:
    """Return what a supernet's checkpoint belongs to."""
    return f"{space.digest}/{settings.sharing}/{settings.policy}/{settings.seed}/{data.digest}"


def train_supernet(
    space: Space, settings: Settings, data: Data, checkpoint: Path, device: torch.device
) -> Supernet:
    """Train the supernet of ``space``, from its checkpoint if there is one, and return its average.

    Args:
        space: What it holds.
        settings: Policy, sharing, recipe and seed.
        data: Images.
        checkpoint: Where its state is kept.
        device: Where to train.

    Raises:
        Interrupted: If the user asked to stop; the state is saved.
        CheckpointError: If the checkpoint is damaged or another's.
    """
    recipe = settings.recipe
    torch.manual_seed(settings.seed)
    supernet = Supernet(space, settings.sharing).to(device)
    steps_per_epoch = math.ceil(len(data.train) / recipe.batch_size)
    training = Training(supernet, recipe, steps_per_epoch, checkpoint, identity(space, settings, data))
    if training.step:
        log.say(f"resuming the supernet at step {training.step} of {training.total}")
    if training.step < training.total:
        with bar("training supernet", training.total, training.step) as progress:
            average = [0.0]

            def report(done: int, loss: float) -> None:
                average[0] = loss if not average[0] else 0.95 * average[0] + 0.05 * loss
                progress.update(done, f"loss {average[0]:.3f}")

            training.run(
                supernet_step(supernet, settings, device), _batches(data, settings, device), report=report
            )
    trained: Supernet = training.network  # type: ignore[assignment]
    return trained.eval()


def supernet_step(supernet: Supernet, settings: Settings, device: torch.device) -> Step:
    """Return the forward and backward of one step: the paths that the policy draws for it."""
    draw, recipe = policy(settings.policy), settings.recipe

    def step(number: int, images: Tensor, labels: Tensor) -> float:
        paths, total, teacher = draw(supernet.space, settings.seed, number), 0.0, None
        for path in paths:
            with autocast(device):
                logits = supernet(images, path.architecture).float()
                if path.learns_from == "teacher" and teacher is not None:
                    loss = -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
                else:
                    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                    teacher = logits.detach().softmax(dim=1)
            (loss / len(paths)).backward()
            total += loss.item() / len(paths)
        return total

    return step


def _batches(data: Data, settings: Settings, device: torch.device) -> Any:
    def batches(epoch: int, first: int) -> Any:
        return data.train.batches(
            settings.recipe.batch_size,
            device=device,
            shuffle_seed=settings.seed,
            epoch=epoch,
            augment=True,
            start=first,
        )

    return batches


def read_supernet(space: Space, sharing: str, path: Path) -> Supernet:
    """Read a trained supernet from a checkpoint or a plain file of its weights.

    Raises:
        CheckpointError: If the file is damaged or holds the weights of another space.
    """
    tensors, _ = load_tensors(path)
    averaged = {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}
    supernet = Supernet(space, sharing)
    try:
        supernet.load_state_dict(averaged or tensors)
    except RuntimeError:
        raise CheckpointError(
            f"{path} does not hold the supernet of {space.name}/{space.scale} with --sharing {sharing}; give the "
            "checkpoint of a search over the same space, scale and images"
        ) from None
    return supernet.eval()
