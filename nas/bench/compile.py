"""Steps of a supernet whose blocks are compiled one by one, against steps of the same supernet without."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.bench.comparison import Side, check_agreement, full_float32, random_inputs, time_in_turn
from nas.bench.measurement import Measurement, compare_times, pool_measurements
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.runtime.device import autocast
from search_spaces.architecture import Architecture
from supernet.compile_blocks import compilations
from supernet.supernet import Supernet

_MEASURED = 6  # architectures that are timed, once everything is compiled


def bench(setup: Setup) -> list[Measurement]:
    """Return what compilation costs for 1, 8 and 32 random architectures, and what a step takes afterwards.

    Batches are those of training: 64 images below 128 px. Compilations level off at the kinds of operators and
    MLPs that the space has; seconds are of the wall and take in whatever torch's caches on disk spare.
    """
    space = load_space(setup)
    batch = setup.pick(setup.batch_size, 64 if space.image_size[0] < 128 else 4, 128, 4)
    rng, where = Random(0), f"{space.name}/{space.scale} at {space.image_size[0]} px, {batch} images"
    sizes = (1, 2) if setup.quick else (1, 8, 32)
    chosen = [space.sample(rng) for _ in range(sizes[-1])]
    torch.manual_seed(0)
    plain = Supernet(space).to(setup.device).train()
    regional = copy.deepcopy(plain)
    regional.compile_blocks()
    inputs = random_inputs((batch, space.in_channels, *space.image_size), setup)
    measurements, done, seconds, before = [], 0, 0.0, compilations()
    for size in sizes:
        began = time.perf_counter()
        for architecture in chosen[done:size]:
            _training_side(regional, architecture)(inputs[0])
        seconds += time.perf_counter() - began
        done = size
        details = {"compilations": compilations() - before, "kinds_of_the_space": _count_kinds(regional)}
        name = f"{where}, first steps of {size} architectures, {details['compilations']} compilations"
        measurements.append(Measurement(name, seconds, "s", details=details))
    steps = [
        _measure_steps(plain, regional, architecture, inputs, setup) for architecture in chosen[:_MEASURED]
    ]
    each = [{"name": one.name, "ours": one.ours, "theirs": one.theirs, "ratio": one.ratio} for one in steps]
    name = f"{where}, forward and backward, {len(steps)} architectures"
    return [*measurements, pool_measurements(steps, name, details={"architectures": each})]


def _count_kinds(supernet: Supernet) -> int:
    """Return how many compilations all architectures of the supernet's space need together."""
    space = supernet.space
    kinds = set[object]()
    for index, stage in enumerate(space.stages):
        for block in stage.blocks:
            encoding = block.pos if block.pos in ("rpe", "lepe") else ""  # inside the operator
            for dim, num_heads in stage.widths.pairs:
                kinds |= {(index, dim, num_heads, block.operator, block.knobs, encoding)}
                kinds |= {(index, dim, block.mlp_ratio)}
    return len(kinds)


def _measure_steps(
    plain: Supernet, regional: Supernet, architecture: Architecture, inputs: Sequence[Tensor], setup: Setup
) -> Measurement:
    with full_float32(), torch.no_grad():
        check_agreement(
            regional(inputs[0], architecture), plain(inputs[0], architecture), architecture.digest
        )
    sides = [_training_side(supernet, architecture) for supernet in (regional, plain)]
    ours, theirs = time_in_turn(sides, inputs, setup, setup.pick_rounds(7))
    return compare_times(architecture.digest, ours, theirs, against="blocks as they are written")


def _training_side(supernet: Supernet, architecture: Architecture) -> Side:
    """Return forward and backward of one path."""

    def side(images: Tensor) -> None:
        with autocast(images.device):
            logits = supernet(images, architecture).float()
            loss = F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long, device=images.device))
        loss.backward()
        supernet.zero_grad(set_to_none=True)

    return side
