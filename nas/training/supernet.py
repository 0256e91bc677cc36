"""Training the supernet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.dataset import Data
from nas.runtime.console import bar, log
from nas.runtime.device import autocast
from nas.runtime.files import load_tensors
from nas.study.settings import Settings
from nas.training.compiled import whole_batches
from nas.training.loop import Batches, Step, Training
from nas.training.pretrained import PretrainedStart, start_supernet
from nas.training.throughput import compared, loader_rate
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from supernet import sampling
from supernet.supernet import Supernet


def identity(space: Space, settings: Settings, data: Data) -> str:
    """Return what a supernet's checkpoint belongs to."""
    parts = (space.digest, settings.sharing, settings.policy, settings.seed, data.digest, *settings.init_from)
    return "/".join(map(str, parts))


def train_supernet(
    space: Space,
    settings: Settings,
    data: Data,
    checkpoint: Path,
    device: torch.device,
    starts: Sequence[PretrainedStart] = (),
) -> Supernet:
    """Train the supernet of ``space`` in this process, from its checkpoint if there is one.

    Args:
        space: What it holds.
        settings: Policy, sharing, recipe and seed.
        data: Images.
        checkpoint: Where its state is kept.
        device: Where to train.
        starts: Published networks that a new training starts from.

    Returns:
        The average of the weights over the training.

    Raises:
        Interrupted: If the user asked to stop; the state is saved.
        CheckpointError: If the checkpoint is damaged or another's.
    """
    training, supernet = _training(SupernetTask(space, settings, data, checkpoint, tuple(starts)), device)
    if training.step < training.total:
        step = supernet_step(supernet, settings, device, settings.recipe.shards)
        batches = _batches(data, settings, device)
        with progress_bar(training.step, training.total) as report:
            training.run(step, batches, report=_paced(training, batches, report))
    trained: Supernet = training.network  # type: ignore[assignment]
    return trained.eval()


#: Steps done, loss, and how fast images come and go, once that is known.
Latest = tuple[int, float, str | None]


@dataclass(frozen=True)
class SupernetTask:
    """What the ranks of a team need to train a supernet together.

    Args:
        space: What it holds.
        settings: Policy, sharing, recipe and seed.
        data: Images.
        checkpoint: Where its state is kept; every rank reads it, the first writes it.
        starts: Published networks that a new training starts from.
    """

    space: Space
    settings: Settings
    data: Data
    checkpoint: Path
    starts: tuple[PretrainedStart, ...] = ()


def train_rank(
    share: SupernetTask, rank: int, world: int, device: torch.device, tell: Callable[[Latest], None]
) -> None:
    """Train as one rank of a team: every rank runs the same paths on its shards of each batch.

    Two ranks give what one process gives, bit for bit, if each has one thread; more than two add floats in
    another order.
    """
    from torch import distributed

    training, supernet = _training(share, device)
    distributed.barrier()  # nobody overwrites the checkpoint before all have read it

    def summed(gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    batches = _batches(share.data, share.settings, device, rank, world)
    training.run(
        supernet_step(supernet, share.settings, device, share.settings.recipe.shards // world),
        batches,
        report=_paced(training, batches, tell),
        reduce=summed,
        keeps=rank == 0,
    )


def _paced(
    training: Training, batches: Batches, tell: Callable[[Latest], None]
) -> Callable[[int, float], None]:
    """Return what a training reports to; ``tell`` hears the pace as well once it is known."""
    images = training.recipe.batch_size
    loader, pace = loader_rate(batches(0, 0), images), None

    def report(step: int, loss: float) -> None:
        nonlocal pace
        pace = pace or compared(loader, training.meter.rate(images))
        tell((step, loss, pace))

    return report


@contextlib.contextmanager
def progress_bar(done: int, total: int) -> Iterator[Callable[[Latest], None]]:
    """Draw the progress of the training and yield what to tell the latest of it.

    Args:
        done: Steps behind it, when resumed.
        total: Steps in all.
    """
    if done:
        log.say(f"resuming the supernet at step {done} of {total}")
    with bar("training supernet", total, done) as drawn:
        average, said = 0.0, False

        def report(latest: Latest) -> None:
            nonlocal average, said
            step, loss, pace = latest
            average = 0.95 * average + 0.05 * loss if average else loss
            drawn.update(step, f"loss {average:.3f}")
            if pace and not said:
                log.say(pace)
                said = True

        yield report


def steps_per_epoch(settings: Settings, data: Data) -> int:
    """Return the steps of an epoch; a last batch too small for every shard is left out."""
    whole, rest = divmod(len(data.train), settings.recipe.batch_size)
    return max(1, whole + (rest >= settings.recipe.shards))


def _training(share: SupernetTask, device: torch.device) -> tuple[Training, Supernet]:
    space, settings = share.space, share.settings
    torch.manual_seed(settings.seed)
    supernet = Supernet(space, settings.sharing)
    if not share.checkpoint.exists():
        start_supernet(supernet, share.starts)
    supernet.to(device)
    steps = steps_per_epoch(settings, share.data)
    mine = identity(space, settings, share.data)
    return Training(supernet, settings.recipe, steps, share.checkpoint, mine), supernet


def supernet_step(supernet: Supernet, settings: Settings, device: torch.device, parts: int = 1) -> Step:
    """Return the forward and backward of one step: the paths that the policy draws for it.

    Args:
        supernet: What trains; compiled by region from now on if the settings say so.
        settings: Policy, seed and recipe.
        device: Where it trains.
        parts: How many of the recipe's shards the images of a step hold.
    """
    draw, recipe = sampling.policy(settings.policy), settings.recipe
    parameters = list(supernet.parameters())

    def one_part(paths: Sequence[sampling.SampledPath], images: Tensor, labels: Tensor) -> float:
        total, teacher = 0.0, None
        for path in paths:
            with autocast(device):
                logits = supernet(images, path.architecture).float()
                if path.learns_from == "teacher" and teacher is not None:
                    loss = -(teacher * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
                else:
                    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                    teacher = logits.detach().softmax(dim=1)
            (loss / (len(paths) * recipe.shards)).backward()
            total += loss.item() / len(paths)
        return total

    def step(number: int, images: Tensor, labels: Tensor) -> float:
        paths, loss = draw(supernet.space, settings.seed, number), 0.0
        sums: dict[nn.Parameter, Tensor] = {}
        for n in range(parts):
            loss += one_part(paths, images[n::parts], labels[n::parts]) / parts
            if parts > 1:  # added shard by shard, as ranks do it, not path by path
                _move_gradients(parameters, sums)
        for parameter, gradient in sums.items():
            parameter.grad = gradient
        return loss

    if not settings.compile:
        return step
    supernet.compile_blocks()
    return whole_batches(step, recipe.batch_size // recipe.shards * parts)


def _move_gradients(parameters: Sequence[nn.Parameter], sums: dict[nn.Parameter, Tensor]) -> None:
    """Add the gradients of parameters to ``sums``, leaving the parameters none."""
    for parameter in parameters:
        if parameter.grad is not None:
            sums[parameter] = sums[parameter] + parameter.grad if parameter in sums else parameter.grad
            parameter.grad = None


def _batches(data: Data, settings: Settings, device: torch.device, rank: int = 0, world: int = 1) -> Batches:
    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            settings.recipe.batch_size,
            device=device,
            shuffle_seed=settings.seed,
            epoch=epoch,
            augment=True,
            drop_last=len(data.train) % settings.recipe.batch_size < settings.recipe.shards,
            start=first,
            rank=rank,
            world=world,
        )

    return batches


def steps_done(checkpoint: Path) -> tuple[int, int]:
    """Return the steps that a checkpoint has behind it and those of its whole training; 0 where there is none.

    Raises:
        CheckpointError: If it is damaged.
    """
    if not checkpoint.exists():
        return 0, 0
    _, metadata = load_tensors(checkpoint)
    return int(metadata.get("step", 0)), int(metadata.get("total", 0))


def read_supernet(space: Space, sharing: str, path: Path) -> Supernet:
    """Read a trained supernet from a checkpoint or a plain file of its weights.

    Raises:
        CheckpointError: If the file is damaged or holds the weights of another space.
    """
    tensors, _ = load_tensors(path)
    averaged = {
        name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")
    }
    supernet, weights = Supernet(space, sharing), averaged or tensors
    try:
        supernet.load_state_dict(weights)
        # Operators that share projections would each take the other's in turn, under their own names.
        fits = all(torch.equal(value, weights[name]) for name, value in supernet.state_dict().items())
    except RuntimeError:
        fits = False
    if not fits:
        raise CheckpointError(
            f"{path} does not hold the supernet of {space.name}/{space.scale} with --sharing {sharing}; give the "
            "checkpoint of a search over the same space, scale and images"
        )
    return supernet.eval()
