"""Ways to train a supernet of the attention table's space, written out so that the product needs none that does not pay.

Every way has the MACs of its paths in common with the default, so that what differs is how they are spent. All train by
the product's own loop, recipe and augmentation, in one process of one thread.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from baselines import ResidualNetwork
from torch import Tensor, autograd, nn
from torch.nn import functional as F

from nas.data.dataset import Data
from nas.study.named_recipes.reader import load_recipe
from nas.study.recipe import Recipe
from nas.study.recipes import SMALL_SUPERNET
from nas.training.augmentation import recipe_augmentation
from nas.training.criterion import Criterion
from nas.training.distillation import soft_loss
from nas.training.loop import Training
from nas.training.subnet_step import subnet_step
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space
from supernet import sampling
from supernet.path_draws import DRAWS
from supernet.sampling import SampledPath
from supernet.subnet import build_subnet
from supernet.supernet import Supernet

TABLE = Path(__file__).parents[1] / "attention_table"
CPU = torch.device("cpu")
#: Paths by space, seed, step and the share of the training that is done.
Paths = Callable[[Space, int, int, float], list[SampledPath]]
#: Steps over which the MACs of a way's paths are averaged.
STEPS = 400
#: Share of the training in which progressive shrinking knows the largest path alone.
LARGEST_FIRST = 0.25
#: Designs that a filter chooses from, the parts of the MACs that it chooses in, its share, and images that it looks at.
POOL, PARTS, KEPT, FILTER_IMAGES = 640, 10, 0.25, 128
#: A teacher outside the space, the channels of its stages, and its epochs.
OUTSIDE, OUTSIDE_WIDTHS, OUTSIDE_EPOCHS = "outside", (24, 48, 96), 20


def of_policy(name: str, draw: str = "by-choice") -> Paths:
    """Return the paths of one of the product's policies."""
    sample = sampling.policy(name, draw)
    return lambda space, seed, step, _: sample(space, seed, step)


def several(count: int, draw: str = "by-choice") -> Paths:
    """Return ``count`` independent random paths a step, whose gradients are averaged."""

    def sample(space: Space, seed: int, step: int, _: float) -> list[SampledPath]:
        rng = Random(f"several-{seed}-{step}")
        return [SampledPath(DRAWS[draw](space, rng)) for _ in range(count)]

    return sample


def largest_first(space: Space, seed: int, step: int, done: float) -> list[SampledPath]:
    """Return the largest path at first and random ones then (progressive shrinking in one step, arXiv 1908.09791)."""
    return [SampledPath(space.largest)] if done < LARGEST_FIRST else several(1)(space, seed, step, done)


@dataclass(frozen=True)
class Way:
    """One way to train a supernet.

    Args:
        paths: What a step runs.
        share: Cost as a multiple of the others'.
        recipe: Numbers that differ from those of the recipe ``small``.
        sharing: As of ``nas search --sharing``.
        projects_conflicts: Whether what the first path's gradient says against another path's is taken out of it.
        taught: Which network, trained alone, teaches beside the labels: the ``largest`` design or one from ``outside``
            the space; its training is not charged.
        split: Whether the second half trains a copy for each width of the last stage.
        filtered: Whether paths are designs that a filter prefers before anything is trained.
        per_image: Whether norms over a batch are replaced by norms over an image.
    """

    paths: Paths = several(1)
    share: float = 1.0
    recipe: tuple[tuple[str, float], ...] = ()
    sharing: str = "operator"
    projects_conflicts: bool = False
    taught: str | None = None
    split: bool = False
    filtered: bool = False
    per_image: bool = False

    def norms(self) -> AbstractContextManager[None]:
        """Return the context in which the way's supernets are made, trained and scored."""
        return norms_per_image() if self.per_image else nullcontext()


DEFAULT = Way()
WAYS = {
    "default": DEFAULT,
    "paths by architecture": Way(several(1, "by-architecture")),
    "paths by cost": Way(several(1, "by-cost")),
    "fair": Way(of_policy("fair")),
    "sandwich": Way(of_policy("sandwich")),
    "sandwich, conflicts projected out": Way(of_policy("sandwich"), projects_conflicts=True),
    "largest path first": Way(largest_first),
    "two paths a step": Way(several(2)),
    "four paths a step": Way(several(4)),
    "taught by the largest design": Way(taught="largest"),
    "taught by a residual network": Way(taught=OUTSIDE),
    "filtered before training": Way(filtered=True),
    "norms over an image": Way(per_image=True),
    "split by width in the second half": Way(split=True),
    "one set of projections a block": Way(sharing="block"),
    "batch 128": Way(recipe=(("batch_size", 128), ("lr", 0.004))),
    "twice the rate": Way(recipe=(("lr", 0.006),)),
    "half the rate": Way(recipe=(("lr", 0.0015),)),
    "rate kept at its peak": Way(recipe=(("min_lr", 0.003),)),
    "a quarter as long": Way(share=0.25),
    "twice as long": Way(share=2.0),
}


@cache
def macs_of_step(way: Way, space: Space) -> float:
    """Return the MACs of an image in one step: of all its paths, on average over steps of the whole training."""
    return fmean(
        sum(costs(path.architecture).macs for path in way.paths(space, 0, step, step / STEPS))
        for step in range(STEPS)
    )


def equal_epochs(way: Way, epochs: int, space: Space) -> int:
    """Return the epochs in which a way costs its share of what the default does in ``epochs``."""
    return max(1, round(epochs * way.share * macs_of_step(DEFAULT, space) / macs_of_step(way, space)))


@dataclass(frozen=True)
class TrainedSupernets:
    """What a way has trained.

    Args:
        supernets: Weights, their average over the training: one supernet, or one for each width of the last stage.
        seconds: Processor time of the training, in seconds.
    """

    supernets: dict[int | None, Supernet]
    seconds: float

    def of(self, design: Architecture) -> Supernet:
        """Return the supernet that a design belongs to."""
        return self.supernets.get(design.stages[-1].dim, next(iter(self.supernets.values())))


def train_supernets(
    way: Way, space: Space, data: Data, epochs: int, seed: int, outside: nn.Module | None = None
) -> TrainedSupernets:
    """Train the supernet of a way for ``epochs``, with one seed of weights, order, augmentation and paths.

    Args:
        way: How.
        space: Of its paths.
        data: The images.
        epochs: Passes over the training images.
        seed: Of everything that is drawn.
        outside: The network that teaches if the way is taught from outside the space.
    """
    torch.manual_seed(seed)
    supernet = Supernet(space, way.sharing)
    recipe = replace(SMALL_SUPERNET, epochs=epochs, seed=seed, shards=1, **dict[str, Any](way.recipe))
    teacher = outside
    if way.taught == "largest":
        teacher = train_alone(space.largest, data, table_recipe(), seed)
    started, half = time.process_time(), epochs // 2
    if way.filtered:
        way = replace(way, paths=of_designs(prefer(supernet, data, seed)))
    if not way.split or not half:
        trained: dict[int | None, Supernet] = {None: _train(supernet, way, recipe, data, teacher)}
        return TrainedSupernets(trained, time.process_time() - started)
    common = _train(supernet, way, replace(recipe, epochs=half), data, teacher)
    widths = space.stages[-1].widths.dims
    rest = replace(recipe, epochs=max(1, round((epochs - half) / len(widths))), warmup=0.0)
    parts: dict[int | None, Supernet] = {
        width: _train(
            copy.deepcopy(common).requires_grad_(),  # which an average does not
            replace(way, paths=_with_width(way.paths, width)),
            rest,
            data,
            teacher,
        )
        for width in widths
    }
    return TrainedSupernets(parts, time.process_time() - started)


def table_recipe() -> Recipe:
    """Return the recipe by which the table's designs were trained alone."""
    return load_recipe(str(TABLE / "recipe.yaml")).retraining


def _with_width(paths: Paths, width: int) -> Paths:
    """Return only those paths whose last stage has a width, as often as ``paths`` draws them."""

    def sample(space: Space, seed: int, step: int, done: float) -> list[SampledPath]:
        number = 0
        while True:
            drawn = paths(space, seed, step + number * 10_000_019, done)
            if all(path.architecture.stages[-1].dim == width for path in drawn):
                return drawn
            number += 1

    return sample


def train_alone(
    design: Architecture, data: Data, recipe: Recipe, seed: int, start: nn.Module | None = None
) -> nn.Module:
    """Train one design, from random weights or from those of ``start``; return the average of its weights."""
    torch.manual_seed(seed)
    network = build_subnet(design, recipe.drop_path) if start is None else start
    return _train_network(network, data, recipe, seed)


def train_outside(data: Data) -> nn.Module:
    """Train a network outside the space, which may teach: a residual one, by the table's recipe but longer."""
    torch.manual_seed(0)
    network = ResidualNetwork(OUTSIDE_WIDTHS, data.in_channels, len(data.class_names))
    trained = _train_network(network, data, replace(table_recipe(), epochs=OUTSIDE_EPOCHS), 0)
    return trained.eval()


def _train_network(network: Any, data: Data, recipe: Recipe, seed: int) -> nn.Module:
    recipe = replace(recipe, seed=seed, shards=1)
    trained: nn.Module = _run(network, recipe, data, subnet_step(network, recipe, CPU))
    return trained


def prefer(supernet: Supernet, data: Data, seed: int) -> list[Architecture]:
    """Return designs that a supernet which nobody has trained prefers to others of like MACs.

    PreNAS (arXiv 2304.14636) chooses designs before the training by what their weights are worth, and trains those
    alone. Of each part of ``POOL`` random designs by MACs the share ``KEPT`` is chosen.
    """
    rng = Random(f"filter-{seed}")
    pool = sorted((supernet.space.sample(rng) for _ in range(POOL)), key=lambda design: costs(design).macs)
    worth = worths(supernet, pool, data, seed)
    preferred: list[Architecture] = []
    for part in range(PARTS):
        low, high = (round(end * POOL / PARTS) for end in (part, part + 1))
        ranked = sorted(pool[low:high], key=lambda design: -worth[design.digest])
        preferred += ranked[: math.ceil(KEPT * len(ranked))]
    return preferred


def worths(supernet: Supernet, designs: Sequence[Architecture], data: Data, seed: int) -> dict[str, float]:
    """Return by digest what the weights of designs are worth: the sum of ``|weight x gradient|`` on one batch.

    The measure is SNIP's (arXiv 1810.02340).
    """
    images, labels = next(data.train.batches(FILTER_IMAGES, shuffle_seed=seed))
    found = {}
    for design in designs:
        network = supernet.extract(design).requires_grad_().train()
        autograd.backward(F.cross_entropy(network(images), labels))
        parts = (
            parameter * parameter.grad for parameter in network.parameters() if parameter.grad is not None
        )
        found[design.digest] = float(sum(part.detach().abs().sum() for part in parts))
    return found


def of_designs(designs: Sequence[Architecture]) -> Paths:
    """Return paths that are drawn evenly from some designs."""
    return lambda space, seed, step, _: [SampledPath(Random(f"designs-{seed}-{step}").choice(designs))]


@contextmanager
def norms_per_image() -> Iterator[None]:
    """Let every norm of a map over a batch be one over each image's channels and positions (arXiv 1803.08494).

    Weights keep their names and shapes, and the statistics of batches are not used.
    """

    def forward(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
        return F.group_norm(maps, 1, norm.weight, norm.bias, norm.eps)

    nn.BatchNorm2d.forward = forward  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del nn.BatchNorm2d.forward  # what it inherits is used again


def _train(supernet: Supernet, way: Way, recipe: Recipe, data: Data, teacher: nn.Module | None) -> Supernet:
    """Train a supernet and return the average of its weights."""
    criterion, parameters = Criterion(recipe, supernet.space.num_classes), list(supernet.parameters())
    steps = recipe.epochs * _steps_per_epoch(recipe, data)

    def step_of(step: int, images: Tensor, labels: Tensor) -> Tensor:
        paths = way.paths(supernet.space, recipe.seed, step, step / steps)
        mean_loss, first_answer = images.new_zeros(()), None
        gradients: list[list[Tensor | None]] = []
        with torch.no_grad():
            taught = None if teacher is None else teacher(images)
        for path in paths:
            logits = supernet(images, path.architecture).float()
            if path.learns_from == "teacher" and first_answer is not None:
                loss = -(first_answer * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
            else:
                loss = criterion.loss(logits, labels)
                first_answer = logits.detach().softmax(dim=1)
            if taught is not None:
                loss = (loss + soft_loss(logits, taught, recipe.temperature)) / 2
            autograd.backward(loss / len(paths))
            mean_loss += loss.detach() / len(paths)
            if way.projects_conflicts:
                gradients.append([parameter.grad for parameter in parameters])
                for parameter in parameters:
                    parameter.grad = None
        for parameter, of_paths in zip(parameters, zip(*gradients, strict=True), strict=bool(gradients)):
            parameter.grad = add_without_conflict(of_paths)
        return mean_loss

    average: Supernet = _run(supernet, recipe, data, step_of)
    return average


def add_without_conflict(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Return the sum of a weight's gradients, the first without what it says against the sum of the others.

    The first is the largest path's. Where it conflicts with the smaller ones, it is projected on the plane at right
    angles to theirs: the smaller go first. That gradients conflict in supernets of transformers, and that projecting
    helps, is NASViT's finding (Gong et al., ICLR 2022); this is that idea, for each weight tensor.
    """
    first, *rest = gradients
    others = [gradient for gradient in rest if gradient is not None]
    if not others:
        return first
    total = torch.stack(others).sum(dim=0)
    if first is None:
        return total
    product = (first * total).sum()
    if product < 0:
        first = first - product / (total * total).sum() * total
    return first + total


def _steps_per_epoch(recipe: Recipe, data: Data) -> int:
    return -(-len(data.train) // recipe.batch_size)


def _run(
    network: nn.Module, recipe: Recipe, data: Data, step: Callable[[int, Tensor, Tensor], Tensor]
) -> Any:
    """Train a network by a recipe and return its average."""
    augmentation = recipe_augmentation(recipe, data)

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            recipe.batch_size, shuffle_seed=recipe.seed, epoch=epoch, augment=augmentation, start=first
        )

    with tempfile.TemporaryDirectory() as folder:
        training = Training(network, recipe, _steps_per_epoch(recipe, data), Path(folder) / "state", "study")
        training.run(step, batches, save_checkpoints=False)
    return training.averaged_network
