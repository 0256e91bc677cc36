"""A generation evaluated together against its designs one by one, and raced against in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from nas.bench.measurement import Measurement, Target, compare_times
from nas.bench.mutants import count_shared, sample_generation, split_into_groups
from nas.bench.patterns import train_on_patterns
from nas.bench.racing import activation_bytes, measure_racing
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.evaluation.accuracy import Batch, Evaluator, evaluation_batch_size
from nas.evaluation.prefix_cache import GROUP_SIZE, PrefixCacheEvaluator
from nas.runtime.device import compute_dtype
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet

#: Least share of what common beginnings could save that is to be saved.
_SHARE = 0.95

Scorer = Callable[[list[Architecture]], list[dict[str, float]]]


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
    space = load_space(setup)
    measurements = measure_sharing(setup, space, parents, offspring, images, calibration)
    trained = train_on_patterns(space, setup.device, steps)
    measurements += measure_racing(setup, trained, parents, offspring, images, calibration)
    return [replace(one, unit="designs/s") if one.unit == "images/s" else one for one in measurements]


def measure_sharing(
    setup: Setup, space: Space, parents: int, offspring: int, images: int, calibration: int
) -> list[Measurement]:
    """Return what a generation takes one by one and together, after its parents and from nothing.

    Args:
        setup: Sizes.
        space: What designs are sampled from.
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
    training = [x for x, _ in _batches(space, calibration, batch, setup)]
    alone, memory = Evaluator(supernet, validation, training), activation_bytes(setup)
    times: dict[str, list[float]] = {"alone": [], "warm": [], "cold": []}
    shared = []
    for number in range(setup.pick_rounds(2)):
        first, designs = sample_generation(space, Random(number), parents, offspring)
        shared.append(count_shared(first, designs))
        warm, cold = (PrefixCacheEvaluator(supernet, validation, training, memory) for _ in range(2))
        warm.score(first)
        if not number:
            alone.score(designs[0])  # warms up
        sides = {"warm": warm.score, "alone": _score_each(alone), "cold": cold.score}
        for side, seconds in _time_generation(designs, sides, setup).items():
            times[side].append(seconds)
    where = f"{space.name}/{space.scale}: {offspring} mutants of {parents} parents, {images} images"
    details = {
        "scores": "identical",
        "group": GROUP_SIZE,
        "shared": shared,
        "kept_bytes": memory,
        "calibration_images": calibration,
        "seconds_one_by_one": times["alone"],
        "seconds_after_the_parents": times["warm"],
        "seconds_from_nothing": times["cold"],
    }
    # What all designs compute against what is distinct of it: no more can be saved, halves of blocks aside.
    target = Target(round(_SHARE * fmean(shared), 2))
    rest: dict[str, Any] = {"images": offspring, "against": "one by one", "details": details}
    return [
        compare_times(f"{where}, after the parents", times["warm"], times["alone"], target=target, **rest),
        compare_times(f"{where}, from nothing", times["cold"], times["alone"], **rest),
    ]


def _time_generation(
    designs: list[Architecture], sides: Mapping[str, Scorer], setup: Setup
) -> dict[str, float]:
    """Return the seconds of every side, by name.

    Raises:
        WorkError: If the scores are not the same.
    """
    stopwatch, seconds = setup.stopwatch, dict.fromkeys(sides, 0.0)
    for group in split_into_groups(designs):
        scores = {}
        for side, score in sides.items():
            began = stopwatch.now()
            scores[side] = score(group)
            seconds[side] += stopwatch.now() - began
        for first, *others in zip(*scores.values(), strict=True):
            # How long a score took differs, of course.
            if any({**other, "seconds": 0} != {**first, "seconds": 0} for other in others):
                raise WorkError("designs evaluated together and one by one have different scores")
    return seconds


def _score_each(alone: Evaluator) -> Scorer:
    return lambda designs: [alone.score(design) for design in designs]


def _batches(space: Space, count: int, batch: int, setup: Setup) -> list[Batch]:
    generator = torch.Generator().manual_seed(count)

    def sample(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(size, space.in_channels, *space.image_size, generator=generator)
        labels = torch.randint(0, space.num_classes, (size,), generator=generator)
        return images.to(setup.device, compute_dtype(setup.device)), labels.to(setup.device)

    return [sample(min(batch, count - start)) for start in range(0, count, batch)]
