"""Seconds of a few real steps and evaluations of a search, from which the whole can be estimated.

Run it in a process of its own (`nas.runtime.own_process`): networks, optimizers and what a GPU keeps for them are gone
with it. Where a step takes long, few images of it are timed, and the rest is taken to be in proportion.

On a CPU the seconds are those of the core, which other programs on a busy machine hardly change, and how much longer
it took by the wall is told beside them. On a GPU they are those of the wall.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.dataset import Data
from nas.evaluation.accuracy import accuracy, evaluation_batch_size, recalibrate
from nas.runtime.device import DeviceType, hardware_name, start_worker
from nas.runtime.stopwatch import Stopwatch
from nas.study.recipe import Recipe, for_params
from nas.study.settings import Settings
from nas.training.augmentation import recipe_augmentation
from nas.training.loop import ForwardBackward, Training
from nas.training.subnet_step import subnet_step
from nas.training.supernet_step import supernet_step
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space
from supernet.resizing import AtImageSize
from supernet.subnet import build_subnet
from supernet.supernet import Supernet

#: Seconds that a step may take before fewer images of it are timed, and of all timed steps of one network.
_LONG_STEP, _ALL_STEPS = 1.5, 2.0
_LEAST_STEPS, _MOST_STEPS = 3, 24
_DESIGNS = 5  # whose evaluation is timed
_SAMPLES = 31  # designs of which the one of median cost is typical


@dataclass(frozen=True)
class Team:
    """Who trains one network.

    Args:
        ranks: Processes.
        threads: Of each, on a CPU.
    """

    ranks: int = 1
    threads: int = 1


class _Steps(NamedTuple):
    """Steps of one network: the seconds of each and of one image in them, and the slowdown of the machine."""

    seconds: tuple[float, ...]
    image_seconds: float
    slowdown: float


@dataclass(frozen=True)
class TimingRequest:
    """What is to be timed.

    Args:
        space: The space.
        settings: Policy and recipes; blocks are timed uncompiled.
        data: The images.
        device: Kind of device of the plan.
        supernet: Who trains the supernet; None where none is searched.
        retraining: Who retrains one design.
        threads: Of a worker that evaluates.
    """

    space: Space
    settings: Settings
    data: Data
    device: DeviceType
    supernet: Team | None
    retraining: Team
    threads: int


@dataclass(frozen=True)
class StepTimes:
    """What was timed, in seconds.

    Args:
        device: What it was timed on.
        slowdown: Seconds of the wall in a second of the core, 1 on a quiet machine and for a GPU.
        supernet: One step of one rank, of several steps.
        calibration: Of one image that recalibrates BatchNorm statistics, of several designs; 0 without BatchNorms.
        evaluation: Of one image that is evaluated, of the same.
        extraction: Taking a design out of the supernet, of the same.
        retraining: One step of one rank: of the smallest, a typical and the largest design.
        validation: One image that a retrained design is evaluated on, of the same designs.
    """

    device: str
    slowdown: float = 1.0
    supernet: tuple[float, ...] = ()
    calibration: tuple[float, ...] = ()
    evaluation: tuple[float, ...] = ()
    extraction: tuple[float, ...] = ()
    retraining: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()


def measure_step_times(request: TimingRequest) -> StepTimes | None:
    """Return what was timed; None where the plan's kind of device is not on this machine."""
    device = start_worker(request.device, request.threads)
    if device.type != request.device:
        return None
    times = StepTimes(hardware_name(device))
    if request.supernet is not None:
        times = _time_supernet(times, request, request.supernet, device)
    torch.set_num_threads(request.retraining.threads)
    space = request.space
    designs = space.smallest, find_typical(space), space.largest
    retraining, validation = zip(
        *(_time_retraining(design, request, device) for design in designs), strict=True
    )
    return replace(times, retraining=retraining, validation=validation)


def _time_supernet(times: StepTimes, request: TimingRequest, team: Team, device: torch.device) -> StepTimes:
    """Return times with those of a supernet's training and of the evaluation of its designs."""
    space, settings = request.space, replace(request.settings, compile=False)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(team.threads)
    supernet = Supernet(space, settings.sharing).to(device)
    shards = usable_shards(len(request.data.train), settings.recipe.shards)
    step = supernet_step(supernet, settings, device, shards // team.ranks, shards)
    steps = _time_steps(
        supernet, step, settings.recipe, request.data, device, shards, team.ranks, _MOST_STEPS
    )
    torch.set_num_threads(request.threads)
    found = [
        # A backward pass takes about two forward passes.
        _time_design(supernet, space.sample(Random(number)), request.data, device, steps.image_seconds / 3)
        for number in range(_DESIGNS + 1)
    ][1:]  # the first is slower
    extraction, calibration, evaluation = zip(*found, strict=True)
    return replace(
        times,
        slowdown=steps.slowdown,
        supernet=steps.seconds,
        calibration=calibration,
        evaluation=evaluation,
        extraction=extraction,
    )


def find_typical(space: Space) -> Architecture:
    """Return the design of median multiply-adds of some that are sampled."""
    sampled = [space.sample(Random(f"typical-{number}")) for number in range(_SAMPLES)]
    return sorted(sampled, key=lambda design: costs(design).macs)[_SAMPLES // 2]


def _time_retraining(
    design: Architecture, request: TimingRequest, device: torch.device
) -> tuple[float, float]:
    """Return the seconds of a step of one rank, and of an image of an evaluation."""
    recipe = for_params(request.settings.retraining, costs(design).params)
    network = build_subnet(design, recipe.drop_path).to(device)
    shards, ranks = usable_shards(len(request.data.train), recipe.shards), request.retraining.ranks
    step = subnet_step(network, recipe, device, shards // ranks, shards, image_size=design.image_size)
    steps = _time_steps(network, step, recipe, request.data, device, shards, ranks, 2 * _LEAST_STEPS)
    images = _count_evaluated(request.data, steps.image_seconds / 3)
    batches = [next(request.data.val.batches(images, device=device))]
    took = _time(device, lambda: accuracy(AtImageSize(network, design.image_size), batches))
    return statistics.median(steps.seconds), took / len(batches[0][1])


def _time_design(
    supernet: Supernet, design: Architecture, data: Data, device: torch.device, image_seconds: float
) -> tuple[float, float, float]:
    """Return the seconds of taking a design out, of an image that recalibrates it, and of one that it is scored on."""
    images = _count_evaluated(data, image_seconds)
    extraction = _time(device, lambda: supernet.extract(design))
    network = AtImageSize(supernet.extract(design), design.image_size)
    calibration = next(data.train.batches(images, device=device))[0]
    validation = [next(data.val.batches(images, device=device))]
    recalibration = _time(device, lambda: recalibrate(network, [calibration]))
    evaluation = _time(device, lambda: accuracy(network, validation))
    return extraction, recalibration / len(calibration), evaluation / len(validation[0][1])


def _count_evaluated(data: Data, image_seconds: float) -> int:
    """Return how many images an evaluation is timed on."""
    size = evaluation_batch_size((data.image_size, data.image_size))
    return max(SHARD_IMAGES, min(size, int(_LONG_STEP / max(image_seconds, 1e-9))))


def _time_steps(
    network: torch.nn.Module,
    forward_backward: ForwardBackward,
    recipe: Recipe,
    data: Data,
    device: torch.device,
    shards: int,
    ranks: int,
    most: int,
) -> _Steps:
    """Train a network for a few steps; their seconds include what this process does to load images."""
    sizes = batch_sizes(len(data.train), recipe.batch_size, SHARD_IMAGES * shards)
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        steps = (
            len(sizes) + _MOST_STEPS + 2 * _LEAST_STEPS
        )  # of the shortest training, no fewer than are timed
        training = Training(network, recipe, steps, Path(folder, "never_written"), "timed")
        network.train()
        batches = _rank_batches(recipe, data, device, shards, ranks)
        images, labels = next(batches)
        full = min(recipe.batch_size, len(data.train)) / ranks
        least = min(len(labels), SHARD_IMAGES * (shards // ranks))

        def take_step(count: int) -> None:
            training.take_step(forward_backward, images[:count], labels[:count])

        take_step(least)  # the very first is slower
        image_seconds = _time(device, lambda: take_step(least)) / least
        timed = len(labels)
        if image_seconds * timed > _LONG_STEP:  # too long, unless more images at once are that much faster
            timed = max(least, int(_LONG_STEP / image_seconds))
        take_step(timed)
        watch, seconds, cores, began = _stopwatch(device), list[float](), list[float](), time.perf_counter()
        while len(seconds) < _LEAST_STEPS or (
            len(seconds) < most and time.perf_counter() - began < _ALL_STEPS
        ):
            started = watch.now()
            images, labels = next(batches)
            loaded = watch.now()
            count = min(timed, len(labels))
            take_step(count)
            ended = watch.now()
            cores.append(ended - started)
            seconds.append((loaded - started) * full / len(labels) + (ended - loaded) * full / count)
        wall = time.perf_counter() - began
    return _Steps(tuple(seconds), statistics.median(seconds) / full, max(1.0, wall / sum(cores)))


def _rank_batches(
    recipe: Recipe, data: Data, device: torch.device, shards: int, ranks: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a rank's share of batches without end."""
    augmentation, epoch = recipe_augmentation(recipe, data), 0
    while True:
        yield from data.train.batches(
            recipe.batch_size,
            device=device,
            shuffle_seed=recipe.seed,
            epoch=epoch,
            augment=augmentation,
            least=SHARD_IMAGES * shards,
            world=ranks,
        )
        epoch += 1


def _time(device: torch.device, work: Callable[[], object]) -> float:
    return _stopwatch(device).measure(work)


def _stopwatch(device: torch.device) -> Stopwatch:
    return Stopwatch(device, "core" if device.type == "cpu" else "wall")
