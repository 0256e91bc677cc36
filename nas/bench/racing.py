"""A generation raced against the same generation evaluated in full."""

from __future__ import annotations

from random import Random

import torch
from torch.nn import functional as F

from nas.bench.core import Measurement, Setup, Target, compared, now
from nas.bench.mutants import in_groups, mutants
from nas.evaluation.accuracy import Batch, evaluation_batch_size
from nas.evaluation.population import activation_cache_bytes
from nas.evaluation.prefix_cache import PrefixCacheEvaluator, order_by_prefix
from nas.runtime import interrupt
from nas.search.loop import analytic_costs
from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.racing import LOOKS, required_top1, stop_thresholds
from search_spaces.space import Space
from supernet.supernet import Supernet

_DELTA = 0.05  # of racing
_CLASSES = 10  # that a supernet learns to tell in few steps
_NOISE = 2.0  # standard deviation, that of the classes' patterns being 1


def raced(
    setup: Setup, supernet: Supernet, parents: int, offspring: int, images: int, calibration: int
) -> list[Measurement]:
    """Return what racing a generation takes against evaluating it in full, what it saves and what it costs.

    Every round samples twice as many designs as there are parents, evaluates them in full and takes as parents
    the best: their front, then those of highest accuracy. All of them are the rivals of the mutants. Both sides
    start from nothing, with none of the rivals' activations.

    Args:
        setup: Sizes.
        supernet: Trained by ``trained``: random weights tell nothing, and of equals none is stopped.
        parents: Designs that are mutated.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.
    """
    space, goal = supernet.space, Goal()
    batch = setup.pick(setup.batch_size, *2 * (evaluation_batch_size(space.image_size),), 32)
    sizes = (batch, min(batch, -(-images // LOOKS)))  # in full, raced
    generator = torch.Generator().manual_seed(1)
    given = _patterned(space, images, setup, generator)
    training = [x for x, _ in _split(_patterned(space, calibration, setup, generator), batch)]
    memory, rounds = kept_by_each(setup), setup.count(1)
    times: tuple[list[float], list[float]] = ([], [])
    stopped = wrong = reached = seen = 0
    for number in range(rounds):
        rng = Random(number)
        known = [space.sample(rng) for _ in range(2 * parents)]
        known = [known[place] for place in order_by_prefix(known)]
        judge, plain, quick = (
            PrefixCacheEvaluator(supernet, _split(given, size), training, memory) for size in (batch, *sizes)
        )
        rivals = [
            {**analytic_costs(design), **found}
            for design, found in zip(known, judge.score(known), strict=True)
        ]
        del judge  # and what it keeps
        ranked = sorted(range(len(known)), key=lambda place: -rivals[place]["top1"])
        best = front([goal.values(scores) for scores in rivals], goal.directions)
        chosen = [known[place] for place in dict.fromkeys((*best, *ranked))][:parents]
        spent = [0.0, 0.0]
        for group in in_groups(mutants(space, rng, chosen, offspring)):
            began = now(setup)
            full = plain.score(group)
            between = now(setup)
            reach = required_top1([analytic_costs(design) for design in group], rivals, goal)
            lengths = [len(labels) for _, labels in quick.validation]
            found = quick.score(group, [stop_thresholds(lengths, bar, _DELTA) for bar in reach])
            spent = [spent[0] + between - began, spent[1] + now(setup) - between]
            for bar, true, scores in zip(reach, full, found, strict=True):
                stops, reaches = "stopped_after" in scores, true["top1"] >= bar
                stopped, reached, wrong = stopped + stops, reached + reaches, wrong + (stops and reaches)
                seen += int(scores.get("stopped_after", images))
        for kept, seconds in zip(times, spent, strict=True):
            kept.append(seconds)
    total = rounds * offspring
    where = f"{space.name}/{space.scale}: racing at {_DELTA:g}, {offspring} mutants, {images} images"
    details = {"designs": total, "stopped": stopped, "not_dominated": reached, "stopped_wrongly": wrong}
    saved = 100 * (1 - seen / (total * images))
    error = 100 * wrong / max(1, reached)
    return [
        compared(where, times[1], times[0], images=offspring, against="in full", details=details),
        Measurement(f"{where}: validation images saved", saved, "%", details=details),
        Measurement(
            f"{where}: stopped of those not dominated",
            error,
            "%",
            target=Target(100 * _DELTA, at_most=True),
            details=details,
        ),
    ]


def kept_by_each(setup: Setup) -> int:
    """Return the bytes of activations that each of two evaluators keeps: as a worker does, on a GPU half of it."""
    return activation_cache_bytes(setup.device.type) // (2 if setup.device.type == "cuda" else 1)


def trained(space: Space, setup: Setup, steps: int) -> Supernet:
    """Return a supernet that tells ten noisy patterns, some paths better than others.

    Args:
        space: What it holds.
        setup: The device.
        steps: Each of 64 images through one path, drawn uniformly.
    """
    torch.manual_seed(0)
    supernet, rng, made = Supernet(space).to(setup.device), Random(0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(supernet.parameters(), 1e-3)
    for _ in range(steps):
        interrupt.check()
        images, labels = _patterned(space, 64, setup, made)
        optimizer.zero_grad()
        F.cross_entropy(supernet(images, space.sample(rng)), labels).backward()
        optimizer.step()
    return supernet.eval()


def _patterned(space: Space, count: int, setup: Setup, made: torch.Generator) -> Batch:
    """Return images of ten fixed patterns under noise, and which pattern each is of."""
    classes = min(_CLASSES, space.num_classes)
    coarse = torch.randn(classes, space.in_channels, 4, 4, generator=torch.Generator().manual_seed(classes))
    patterns = F.interpolate(coarse, size=space.image_size, mode="nearest")
    labels = torch.randint(0, classes, (count,), generator=made)
    noise = torch.randn(count, space.in_channels, *space.image_size, generator=made)
    return (patterns[labels] + _NOISE * noise).to(setup.device), labels.to(setup.device)


def _split(images: Batch, size: int) -> list[Batch]:
    return list(zip(images[0].split(size), images[1].split(size), strict=True))
