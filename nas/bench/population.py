"""A generation evaluated together against its designs one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from nas import interrupt
from nas.bench.core import Row, Setup, Target, compared
from nas.bench.spaces import space_of
from nas.branches import BranchEvaluator, in_order
from nas.evaluate import Batch, Evaluator, evaluation_batch
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet

GROUP = 8  # designs that a worker evaluates together
_CPU_BYTES = 2**30  # activations that are kept
_RATE = 0.1  # of mutation, the space's own


def bench(
    setup: Setup, parents: int = 16, offspring: int = 64, images: int = 1000, calibration: int = 256
) -> list[Row]:
    """Return what a generation takes one by one, together after its parents, and together from nothing.

    Every round has a generation of its own, whose groups of designs go through all three in turn.

    Args:
        setup: Sizes.
        parents: Designs that were evaluated before.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.

    Raises:
        WorkError: If the scores are not the same.
    """
    if setup.quick:
        parents, offspring, images, calibration = 2, 8, 64, 16
    space, rounds = space_of(setup), setup.count(3)
    torch.manual_seed(0)
    supernet = Supernet(space).to(setup.device).eval()
    batch = setup.pick(setup.batch_size, *2 * (evaluation_batch(space.image_size),), 32)
    validation = _batches(space, images, batch, setup)
    training = [given for given, _ in _batches(space, calibration, batch, setup)]
    alone = Evaluator(supernet, validation, training)
    memory = torch.cuda.mem_get_info()[0] // 4 if setup.device.type == "cuda" else _CPU_BYTES
    times: dict[str, list[float]] = {"alone": [], "warm": [], "cold": []}
    for number in range(rounds):
        first, designs = generation(space, Random(number), parents, offspring)
        warm, cold = (BranchEvaluator(supernet, validation, training, memory) for _ in range(2))
        warm.score(first)
        if not number:
            alone.score(designs[0])  # warms up
        spent = dict.fromkeys(times, 0.0)
        for group in (designs[start : start + GROUP] for start in range(0, len(designs), GROUP)):
            interrupt.check()
            scores = {}
            for who, score in (("warm", warm.score), ("alone", _each(alone)), ("cold", cold.score)):
                began = _now(setup)
                scores[who] = score(group)
                spent[who] += _now(setup) - began
            for own, other, third in zip(*scores.values(), strict=True):
                if not {**own, "seconds": 0} == {**other, "seconds": 0} == {**third, "seconds": 0}:
                    raise WorkError("designs evaluated together and one by one have different scores")
        for who, seconds in spent.items():
            times[who].append(seconds)
    where = f"{space.name}/{space.scale}: {offspring} mutants of {parents} parents, {images} images"
    details = {"scores": "identical", "group": GROUP, "kept_bytes": memory, "calibration_images": calibration}
    rest: dict[str, Any] = {"images": offspring, "against": "one by one", "details": details}
    rows = [
        compared(f"{where}, after the parents", times["warm"], times["alone"], target=Target(2.0), **rest),
        compared(f"{where}, from nothing", times["cold"], times["alone"], **rest),
    ]
    return [replace(row, unit="designs/s") for row in rows]


def generation(
    space: Space, rng: Random, parents: int, offspring: int
) -> tuple[list[Architecture], list[Architecture]]:
    """Return random parents and distinct mutants of them, each in the order of ``in_order``."""
    first = [space.sample(rng) for _ in range(parents)]
    mutants: dict[Architecture, None] = {}
    for number in range(100 * offspring):
        mutants[space.mutate(first[number % parents], rng, _RATE)] = None
        if len(mutants) == offspring:
            break
    both = [[designs[place] for place in in_order(designs)] for designs in (first, list(mutants))]
    return both[0], both[1]


def _each(alone: Evaluator) -> Callable[[list[Architecture]], list[dict[str, float]]]:
    return lambda designs: [alone.score(design) for design in designs]


def _now(setup: Setup) -> float:
    if setup.device.type == "cuda":
        torch.cuda.synchronize()
    return time.thread_time() if setup.clock == "core" else time.perf_counter()


def _batches(space: Space, count: int, batch: int, setup: Setup) -> list[Batch]:
    made = torch.Generator().manual_seed(count)

    def drawn(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(size, space.in_channels, *space.image_size, generator=made)
        labels = torch.randint(0, space.num_classes, (size,), generator=made)
        return images.to(setup.device), labels.to(setup.device)

    return [drawn(min(batch, count - start)) for start in range(0, count, batch)]
