"""A generation raced against the same generation evaluated in full."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from nas.bench.measurement import Measurement, Target, compare_times
from nas.bench.mutants import mutate, sample_designs, sort_designs, split_into_groups
from nas.bench.patterns import sample_patterns
from nas.bench.setup import Setup
from nas.evaluation.accuracy import Batch, evaluation_batch_size
from nas.evaluation.population import activation_cache_bytes
from nas.evaluation.prefix_cache import PrefixCacheEvaluator
from nas.search.loop import analytic_costs
from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.racing import LOOKS, required_top1, stop_thresholds
from search_spaces.architecture import Architecture
from search_spaces.space import Space
from supernet.supernet import Supernet

_DELTA = 0.05  # of racing


@dataclass(frozen=True)
class _Task:
    """What both sides are given.

    Args:
        setup: Sizes.
        supernet: Trained by ``train_on_patterns``.
        validation: Images and labels.
        training: Batches of images for BatchNorm statistics.
        batch: Validation images at once in full; racing looks after smaller batches.
    """

    setup: Setup
    supernet: Supernet
    validation: Batch
    training: list[Tensor]
    batch: int

    def evaluator(self, batch: int) -> PrefixCacheEvaluator:
        """Return an evaluator that holds no activations yet."""
        memory = activation_bytes(self.setup)
        return PrefixCacheEvaluator(self.supernet, _split(self.validation, batch), self.training, memory)


@dataclass
class _Tally:
    """What came of racing, over all rounds.

    Args:
        full: Seconds of evaluating each round's generation in full.
        raced: Seconds of racing it.
        stopped: Designs that racing stopped.
        reached: Designs that are not dominated, by their accuracies in full.
        wrong: Designs that are not dominated and were stopped.
        images: Validation images that racing used.
    """

    full: list[float] = field(default_factory=list)
    raced: list[float] = field(default_factory=list)
    stopped: int = 0
    reached: int = 0
    wrong: int = 0
    images: int = 0


def measure_racing(
    setup: Setup, supernet: Supernet, parents: int, offspring: int, images: int, calibration: int
) -> list[Measurement]:
    """Return what racing a generation takes against evaluating it in full, what it saves and what it costs.

    Every round samples twice as many designs as there are parents, evaluates them in full and takes as parents
    the best: their front, then those of highest accuracy. All of them are the rivals of the mutants. Both sides
    start from nothing, with none of the rivals' activations.

    Args:
        setup: Sizes.
        supernet: Trained by ``train_on_patterns``.
        parents: Designs that are mutated.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.
    """
    space = supernet.space
    batch = setup.pick(setup.batch_size, *2 * (evaluation_batch_size(space.image_size),), 32)
    generator = torch.Generator().manual_seed(1)
    validation = sample_patterns(space, images, setup.device, generator)
    training = [x for x, _ in _split(sample_patterns(space, calibration, setup.device, generator), batch)]
    task, tally, rounds = _Task(setup, supernet, validation, training, batch), _Tally(), setup.pick_rounds(1)
    for number in range(rounds):
        _race_generation(task, Random(number), parents, offspring, tally)
    return _measurements(tally, space, rounds, offspring, images)


def _race_generation(task: _Task, rng: Random, parents: int, offspring: int, tally: _Tally) -> None:
    """Evaluate one generation both ways and add to the tally."""
    space, goal, stopwatch = task.supernet.space, Goal(), task.setup.stopwatch
    images = len(task.validation[1])
    known = sort_designs(sample_designs(space, rng, 2 * parents))
    rivals = [
        {**analytic_costs(design), **scores}
        for design, scores in zip(known, task.evaluator(task.batch).score(known), strict=True)
    ]
    full, raced = task.evaluator(task.batch), task.evaluator(min(task.batch, -(-images // LOOKS)))
    lengths = [len(labels) for _, labels in raced.validation]
    seconds_full = seconds_raced = 0.0
    for group in split_into_groups(mutate(space, rng, _rank(known, rivals, goal)[:parents], offspring)):
        began = stopwatch.now()
        full_scores = full.score(group)
        between = stopwatch.now()
        required = required_top1([analytic_costs(design) for design in group], rivals, goal)
        raced_scores = raced.score(group, [stop_thresholds(lengths, top1, _DELTA) for top1 in required])
        ended = stopwatch.now()
        seconds_full, seconds_raced = seconds_full + between - began, seconds_raced + ended - between
        for top1, true, scores in zip(required, full_scores, raced_scores, strict=True):
            stopped, reached = "stopped_after" in scores, true["top1"] >= top1
            tally.stopped += stopped
            tally.reached += reached
            tally.wrong += stopped and reached
            tally.images += int(scores.get("stopped_after", images))
    tally.full.append(seconds_full)
    tally.raced.append(seconds_raced)


def _rank(known: list[Architecture], scores: list[dict[str, float]], goal: Goal) -> list[Architecture]:
    """Return designs, those of their front first, then those of highest accuracy."""
    ranked = sorted(range(len(known)), key=lambda index: -scores[index]["top1"])
    best = front([goal.values(each) for each in scores], goal.directions)
    return [known[index] for index in dict.fromkeys((*best, *ranked))]


def _measurements(tally: _Tally, space: Space, rounds: int, offspring: int, images: int) -> list[Measurement]:
    total = rounds * offspring
    where = f"{space.name}/{space.scale}: racing at {_DELTA:g}, {offspring} mutants, {images} images"
    details = {
        "designs": total,
        "stopped": tally.stopped,
        "not_dominated": tally.reached,
        "stopped_wrongly": tally.wrong,
    }
    saved = 100 * (1 - tally.images / (total * images))
    error = 100 * tally.wrong / max(1, tally.reached)
    target = Target(100 * _DELTA, at_most=True)
    return [
        compare_times(where, tally.raced, tally.full, images=offspring, against="in full", details=details),
        Measurement(f"{where}: validation images saved", saved, "%", details=details),
        Measurement(f"{where}: stopped of those not dominated", error, "%", target=target, details=details),
    ]


def activation_bytes(setup: Setup) -> int:
    """Return the bytes of activations that each of two evaluators keeps: as a worker does, on a GPU half of it."""
    return activation_cache_bytes(setup.device.type) // (2 if setup.device.type == "cuda" else 1)


def _split(images: Batch, size: int) -> list[Batch]:
    return list(zip(images[0].split(size), images[1].split(size), strict=True))
