"""A generation evaluated together against its designs one by one, and raced against in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from nas.bench.core import Measurement, Setup, Target, compared, now
from nas.bench.mutants import generation, in_groups
from nas.bench.racing import kept_by_each, raced, trained
from nas.bench.spaces import space_of
from nas.evaluation.accuracy import Batch, Evaluator, evaluation_batch_size
from nas.evaluation.prefix_cache import GROUP_SIZE, PrefixCacheEvaluator
from nas.runtime.device import compute_dtype
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet


def bench(
    setup: Setup,
    parents: int = 16,
    offspring: int = 64,
    images: int = 500,
    calibration: int = 256,
    steps: int = 80,
) -> list[Measurement]:
    """Return what a generation takes one by one, together after its parents, together from nothing, and raced.

    How far mutants share beginnings differs from one generation to the next, so every round has one of its own,
    whose groups of designs go through all sides in turn.

    Args:
        setup: Sizes.
        parents: Designs that were evaluated before.
        offspring: Their mutants, which are timed.
        images: Validation images, as many as a search of the embedded images has.
        calibration: Training images for BatchNorm statistics.
        steps: Of training the supernet that is raced.

    Raises:
        WorkError: If the scores are not the same.
    """
    if setup.quick:
        parents, offspring, images, calibration, steps = 2, 8, 64, 16, 2
    space = space_of(setup)
    rows = together(setup, space, parents, offspring, images, calibration)
    rows += raced(setup, trained(space, setup, steps), parents, offspring, images, calibration)
    return [replace(row, unit="designs/s") if row.unit == "images/s" else row for row in rows]


def together(
    setup: Setup, space: Space, parents: int, offspring: int, images: int, calibration: int
) -> list[Measurement]:
    """Return what a generation takes one by one and together, after its parents and from nothing.

    Args:
        setup: Sizes.
        space: What designs are drawn from.
        parents: Designs that were evaluated before.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.

    Raises:
        WorkError: If the scores are not the same.
    """
    torch.manual_seed(0)
    supernet = Supernet(space).to(setup.device).eval()
    batch = setup.pick(setup.batch_size, *2 * (evaluation_batch_size(space.image_size),), 32)
    validation = _batches(space, images, batch, setup)
    training = [given for given, _ in _batches(space, calibration, batch, setup)]
    alone, memory = Evaluator(supernet, validation, training), kept_by_each(setup)
    times: dict[str, list[float]] = {"alone": [], "warm": [], "cold": []}
    for number in range(setup.count(2)):
        first, designs = generation(space, Random(number), parents, offspring)
        warm, cold = (PrefixCacheEvaluator(supernet, validation, training, memory) for _ in range(2))
        warm.score(first)
        if not number:
            alone.score(designs[0])  # warms up
        spent = dict.fromkeys(times, 0.0)
        for group in in_groups(designs):
            scores = {}
            for who, score in (("warm", warm.score), ("alone", _each(alone)), ("cold", cold.score)):
                began = now(setup)
                scores[who] = score(group)
                spent[who] += now(setup) - began
            for own, other, third in zip(*scores.values(), strict=True):
                if not {**own, "seconds": 0} == {**other, "seconds": 0} == {**third, "seconds": 0}:
                    raise WorkError("designs evaluated together and one by one have different scores")
        for who, seconds in spent.items():
            times[who].append(seconds)
    where = f"{space.name}/{space.scale}: {offspring} mutants of {parents} parents, {images} images"
    details = {
        "scores": "identical",
        "group": GROUP_SIZE,
        "kept_bytes": memory,
        "calibration_images": calibration,
        "seconds_one_by_one": times["alone"],
        "seconds_after_the_parents": times["warm"],
        "seconds_from_nothing": times["cold"],
    }
    rest: dict[str, Any] = {"images": offspring, "against": "one by one", "details": details}
    return [
        compared(f"{where}, after the parents", times["warm"], times["alone"], target=Target(2.0), **rest),
        compared(f"{where}, from nothing", times["cold"], times["alone"], **rest),
    ]


def _each(alone: Evaluator) -> Callable[[list[Architecture]], list[dict[str, float]]]:
    return lambda designs: [alone.score(design) for design in designs]


def _batches(space: Space, count: int, batch: int, setup: Setup) -> list[Batch]:
    made = torch.Generator().manual_seed(count)

    def drawn(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(size, space.in_channels, *space.image_size, generator=made)
        labels = torch.randint(0, space.num_classes, (size,), generator=made)
        return images.to(setup.device, compute_dtype(setup.device)), labels.to(setup.device)

    return [drawn(min(batch, count - start)) for start in range(0, count, batch)]
