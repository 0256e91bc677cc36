"""A generation evaluated together against its designs one by one, and raced against in full."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nas import interrupt
from nas.bench.core import Row, Setup, Target, compared
from nas.bench.spaces import space_of
from nas.branches import GROUP, BranchEvaluator, in_order
from nas.evaluate import Batch, Evaluator, evaluation_batch
from nas.objectives import Goal
from nas.pareto import front
from nas.racing import LOOKS, bars, floors
from nas.search import cheap_costs
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet

_CPU_BYTES = 2**30  # activations that are kept
_RATE = 0.1  # of mutation, the space's own
_DELTA = 0.05  # of racing
_CLASSES = 10  # that a supernet learns to tell in few steps
_NOISE = 2.0  # standard deviation, that of the classes' patterns being 1


def bench(
    setup: Setup,
    parents: int = 16,
    offspring: int = 64,
    images: int = 1000,
    calibration: int = 256,
    steps: int = 200,
) -> list[Row]:
    """Return what a generation takes one by one, together after its parents, together from nothing, and raced.

    Every round has a generation of its own, whose groups of designs go through all sides in turn.

    Args:
        setup: Sizes.
        parents: Designs that were evaluated before.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.
        steps: Of training the supernet that is raced.

    Raises:
        WorkError: If the scores are not the same.
    """
    if setup.quick:
        parents, offspring, images, calibration, steps = 2, 8, 64, 16, 2
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
    rows.extend(raced(setup, trained(space, setup, steps), parents, offspring, images, calibration))
    return [replace(row, unit="designs/s") if row.unit == "images/s" else row for row in rows]


def raced(
    setup: Setup, supernet: Supernet, parents: int, offspring: int, images: int, calibration: int
) -> list[Row]:
    """Return what racing a generation takes against evaluating it in full, what it saves and what it costs.

    Every round samples four times as many designs as there are parents, evaluates them in full and takes as
    parents the best: their front, then those of highest accuracy. All of them are the rivals of the mutants.

    Args:
        setup: Sizes.
        supernet: Trained by ``trained``: random weights tell nothing, and of equals none is stopped.
        parents: Designs that are mutated.
        offspring: Their mutants, which are timed.
        images: Validation images.
        calibration: Training images for BatchNorm statistics.
    """
    space, goal = supernet.space, Goal()
    batch = setup.pick(setup.batch_size, *2 * (evaluation_batch(space.image_size),), 32)
    sizes = (batch, min(batch, -(-images // LOOKS)))  # in full, raced
    generator = torch.Generator().manual_seed(1)
    given = _patterned(space, images, setup, generator)
    training = [x for x, _ in _split(_patterned(space, calibration, setup, generator), batch)]
    memory = torch.cuda.mem_get_info()[0] // 4 if setup.device.type == "cuda" else _CPU_BYTES
    times: tuple[list[float], list[float]] = ([], [])
    stopped = wrong = reached = seen = 0
    for number in range(setup.count(3)):
        rng = Random(number)
        known = [space.sample(rng) for _ in range(4 * parents)]
        plain, quick = (BranchEvaluator(supernet, _split(given, size), training, memory) for size in sizes)
        rivals = [
            {**cheap_costs(design), **found} for design, found in zip(known, plain.score(known), strict=True)
        ]
        quick.score(known)
        ranked = sorted(range(len(known)), key=lambda place: -rivals[place]["top1"])
        best = front([goal.values(scores) for scores in rivals], goal.directions)
        chosen = [known[place] for place in dict.fromkeys((*best, *ranked))][:parents]
        designs = mutants(space, rng, chosen, offspring)
        spent = [0.0, 0.0]
        for group in (designs[start : start + GROUP] for start in range(0, len(designs), GROUP)):
            interrupt.check()
            began = _now(setup)
            full = plain.score(group)
            between = _now(setup)
            reach = bars([cheap_costs(design) for design in group], rivals, goal)
            lengths = [len(labels) for _, labels in quick.validation]
            found = quick.score(group, [floors(lengths, bar, _DELTA) for bar in reach])
            spent = [spent[0] + between - began, spent[1] + _now(setup) - between]
            for bar, true, scores in zip(reach, full, found, strict=True):
                stops, reaches = "stopped_after" in scores, true["top1"] >= bar
                stopped, reached, wrong = stopped + stops, reached + reaches, wrong + (stops and reaches)
                seen += int(scores.get("stopped_after", images))
        for kept, seconds in zip(times, spent, strict=True):
            kept.append(seconds)
    total = setup.count(3) * offspring
    where = f"{space.name}/{space.scale}: racing at {_DELTA:g}, {offspring} mutants, {images} images"
    details = {"designs": total, "stopped": stopped, "not_dominated": reached, "stopped_wrongly": wrong}
    saved = 100 * (1 - seen / (total * images))
    error = 100 * wrong / max(1, reached)
    return [
        compared(where, times[1], times[0], images=offspring, against="in full", details=details),
        Row(f"{where}: validation images saved", saved, "%", details=details),
        Row(
            f"{where}: stopped of those not dominated",
            error,
            "%",
            target=Target(100 * _DELTA, at_most=True),
            details=details,
        ),
    ]


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


def generation(
    space: Space, rng: Random, parents: int, offspring: int
) -> tuple[list[Architecture], list[Architecture]]:
    """Return random parents and distinct mutants of them, each in the order of ``in_order``."""
    first = [space.sample(rng) for _ in range(parents)]
    return [first[place] for place in in_order(first)], mutants(space, rng, first, offspring)


def mutants(space: Space, rng: Random, parents: list[Architecture], offspring: int) -> list[Architecture]:
    """Return distinct mutants of ``parents``, in the order of ``in_order``."""
    made: dict[Architecture, None] = {}
    for number in range(100 * offspring):
        made[space.mutate(parents[number % len(parents)], rng, _RATE)] = None
        if len(made) == offspring:
            break
    designs = list(made)
    return [designs[place] for place in in_order(designs)]


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
