"""A path of the supernet against the same architecture's own network, step by step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.bench.comparison import Side, check_agreement, full_float32, random_inputs, time_in_turn
from nas.bench.measurement import Measurement, Target, compare_times, pool_measurements
from nas.bench.memory import measure_peaks, name_sides
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.runtime.device import autocast
from nas.study.recipe import Recipe
from nas.training.ema import ModelEma
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from supernet.resizing import AtImageSize
from supernet.supernet import Supernet

TARGET = Target(1.05, at_most=True)


def bench(setup: Setup) -> list[Measurement]:
    """Return, over random architectures, what a path's step takes beside its subnet's.

    The first measurement is forward and backward; the others add clipping and AdamW over the parameters that
    got gradients. Parameters that a path slices its weights from get gradients in full, so it updates more
    values than its subnet has (``details`` counts both): once the subnet's side updates as many, once its own.
    """
    space = load_space(setup)
    batch = setup.pick(setup.batch_size, 32 if space.image_size[0] < 128 else 4, 128, 8)
    count = 2 if setup.quick else 6
    torch.manual_seed(0)
    supernet = Supernet(space).to(setup.device)
    rng, where = Random(0), f"{space.name}/{space.scale} at {space.image_size[0]} px"
    inputs = random_inputs((batch, space.in_channels, *space.image_size), setup)
    by_kind: dict[str, list[Measurement]] = {}
    for _ in range(count):
        for kind, one in _measure_architecture(supernet, space.sample(rng), inputs, setup):
            by_kind.setdefault(kind, []).append(one)
    pooled = []
    for kind, measurements in by_kind.items():
        each = [
            {"name": one.name, "ours": one.ours, "theirs": one.theirs, "ratio": one.ratio, **one.details}
            for one in measurements
        ]
        name = f"{where}, {kind}, {count} architectures"
        pooled.append(pool_measurements(measurements, name, details={"architectures": each}))
    return [*pooled, *_measure_updates(supernet, space.sample(rng), inputs, setup, where)]


def _measure_architecture(
    supernet: Supernet, architecture: Architecture, inputs: Sequence[Tensor], setup: Setup
) -> list[tuple[str, Measurement]]:
    """Return the measurements of one architecture with their kinds."""
    supernet.eval()
    network = AtImageSize(supernet.extract(architecture), architecture.image_size)
    with full_float32(), torch.no_grad():
        path = supernet(inputs[0], architecture)
        difference = check_agreement(path, network(inputs[0]), architecture.digest)
    supernet.train()
    network.train()
    batch, cost = len(inputs[0]), costs(architecture)
    runs: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
        (supernet, lambda images: supernet(images, architecture)),
        (network, network),
    ]
    touched = name_sides(_count_gradients(run, inputs[0]) for run in runs)
    ours, theirs = (list(module.parameters()) for module, _ in runs)
    none: list[nn.Parameter] = []
    measurements = []
    for kind, target, updated in (
        ("forward and backward", TARGET, (none, none)),
        ("whole step, as many parameters updated", TARGET, (ours, _copy_touched(runs[0], inputs[0]))),
        ("whole step, each with its own parameters", None, (ours, theirs)),
    ):
        sides = [_training_side(*run, parameters) for run, parameters in zip(runs, updated, strict=True)]
        times = time_in_turn(sides, inputs, setup, setup.pick_rounds(7))
        details: dict[str, Any] = {
            "macs": 3 * batch * cost.macs,
            "bytes": 3 * 4 * (cost.params + inputs[0].numel()),
            "peak_bytes": measure_peaks(sides, inputs[0], setup),
            "touched": touched,
            "max_abs_difference": difference,
        }
        rest: dict[str, Any] = {"against": "its extracted subnet", "target": target, "details": details}
        measurements.append((kind, compare_times(architecture.digest, times[0], times[1], **rest)))
    return measurements


def _count_gradients(run: tuple[nn.Module, Callable[[Tensor], Tensor]], images: Tensor) -> int:
    """Return how many values get gradients in a step."""
    module, forward = run
    forward(images).float().sum().backward()
    count = sum(parameter.grad.numel() for parameter in module.parameters() if parameter.grad is not None)
    module.zero_grad(set_to_none=True)
    return count


def _copy_touched(run: tuple[nn.Module, Callable[[Tensor], Tensor]], images: Tensor) -> list[nn.Parameter]:
    """Return copies of the parameters that get gradients in a step, with these gradients."""
    module, forward = run
    forward(images).float().sum().backward()
    copies = []
    for parameter in module.parameters():
        if parameter.grad is not None:
            copies.append(nn.Parameter(parameter.detach().clone()))
            copies[-1].grad = parameter.grad
    module.zero_grad(set_to_none=True)
    return copies


def _training_side(
    module: nn.Module, forward: Callable[[Tensor], Tensor], updated: Sequence[nn.Parameter]
) -> Side:
    """Return forward and backward of ``module``, and an update of those of ``updated`` that have gradients."""
    recipe, parameters = Recipe(), list(module.parameters())
    # A rate of zero leaves the weights as they are, so that every round computes the same.
    optimizer = (
        torch.optim.AdamW(updated, lr=0.0, weight_decay=recipe.weight_decay, fused=True) if updated else None
    )

    def side(images: Tensor) -> None:
        with autocast(images.device):
            logits = forward(images).float()
            loss = F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long, device=images.device))
        loss.backward()
        if optimizer is not None:
            touched = [parameter for parameter in updated if parameter.grad is not None]
            nn.utils.clip_grad_norm_(touched, recipe.clip_grad)
            optimizer.step()
        for parameter in parameters:  # as an optimizer's ``zero_grad`` does
            parameter.grad = None

    return side


def _measure_updates(
    supernet: Supernet, architecture: Architecture, inputs: Sequence[Tensor], setup: Setup, where: str
) -> list[Measurement]:
    """Return what clipping with AdamW, and what the moving average of the weights, take after a path's backward."""
    ema = ModelEma(supernet, Recipe().ema_decay, 20_000)
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=0.0, fused=True)
    supernet.zero_grad(set_to_none=True)
    supernet(inputs[0], architecture).float().square().mean().backward()
    touched = [parameter for parameter in supernet.parameters() if parameter.grad is not None]
    steps = itertools.count()

    def update(_: Tensor) -> None:
        nn.utils.clip_grad_norm_(touched, math.inf)
        optimizer.step()

    def average(_: Tensor) -> None:
        step = next(steps)
        ema.before_step(step, touched)
        ema.after_step(step, touched)

    both = time_in_turn([update, average], inputs, setup, setup.pick_rounds(7))
    details = {
        "touched": sum(parameter.numel() for parameter in touched),
        "of": sum(parameter.numel() for parameter in supernet.parameters()),
    }
    names = ("clipping and AdamW of a path", "average of the weights of a path")
    measurements = []
    for name, times in zip(names, both, strict=True):
        milliseconds = 1e3 * sorted(times)[len(times) // 2]
        one = Measurement(f"{where}, {name}", milliseconds, "ms", rounds=len(times), details=details)
        measurements.append(one)
    supernet.zero_grad(set_to_none=True)
    return measurements
