"""The rows of the headline: trainings of every contender with fresh seeds, and what they reached."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from baselines import ResidualNetwork, count_macs, residual_widths, train_residual
from contenders import PLAIN, RANDOM, Contender, random_designs

from nas.cluster.budget import WorkerAllocation
from nas.data.dataset import Data
from nas.ranking.train_designs import job_folder, train_designs
from nas.ranking.trained_designs import TrainingTable
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.training.retraining_job import RetrainingJob
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space

#: Seed of the one training by which the best of the random designs is chosen.
CHOICE_SEED = 0


@dataclass(frozen=True)
class Setup:
    """What all trainings have in common.

    Args:
        options: The command line.
        space: What is searched.
        data: Images.
        recipe: How every network is trained alone.
        table: The trainings that are done.
        known: The attention table where its trainings are such trainings, else None.
        allocation: The workers.
    """

    options: argparse.Namespace
    space: Space
    data: Data
    recipe: Recipe
    table: TrainingTable
    known: TrainingTable | None
    allocation: WorkerAllocation

    @property
    def seeds(self) -> range:
        """Seeds of the searches."""
        return range(self.options.seeds)

    def fresh_seeds(self, seed: int) -> list[int]:
        """Return the seeds of the trainings that count for a search's seed: 100 more, 200 more."""
        return [100 * repeat + seed for repeat in range(1, self.options.repeats + 1)]

    def study(self, macs: float, seed: int) -> Path:
        """Return the folder of a search."""
        return Path(self.options.scratch) / f"search-{macs:.0f}-seed{seed}"


def fresh_pairs(setup: Setup, contender: Contender) -> Iterable[tuple[Architecture, int]]:
    """Yield the trainings that count for a row: each design with its fresh seeds."""
    for seed, design in contender.designs.items():
        for fresh in setup.fresh_seeds(seed):
            yield design, fresh


def train(setup: Setup, wanted: Iterable[tuple[Architecture, int]]) -> None:
    """Train the pairs of design and seed that are not trained yet, seed by seed."""
    epochs, jobs = setup.recipe.epochs, {}
    for design, seed in sorted(wanted, key=lambda pair: pair[1]):
        key = (design.digest, seed, epochs)
        if key not in setup.table.runs:
            setup.table.add_designs([("headline", design)])
            folder = job_folder(setup.options.scratch.absolute(), design.digest, seed, epochs)
            recipe = replace(setup.recipe, seed=seed)
            jobs[key] = RetrainingJob(Design(design), "scratch", folder, recipe, setup.data.digest)
    if jobs:
        train_designs(list(jobs.values()), setup.data, setup.allocation, setup.table.add_run)


def to_row(setup: Setup, contender: Contender) -> dict[str, Any]:
    """Return a row of the results: accuracies by the seed of the search, each a mean over its fresh trainings."""
    runs = {
        seed: [
            setup.table.runs[design.digest, fresh, setup.recipe.epochs] for fresh in setup.fresh_seeds(seed)
        ]
        for seed, design in contender.designs.items()
    }
    designs = list(contender.designs.values())
    return {
        "group": contender.group,
        "name": contender.name,
        "remark": contender.remark,
        "designs": list(dict.fromkeys(map(str, designs))),
        "macs": [costs(design).macs for design in designs],
        "params": [costs(design).params for design in designs],
        "val_top1": {str(seed): fmean(run.val_top1 for run in own) for seed, own in runs.items()},
        "test_top1": {str(seed): fmean(run.test_top1 for run in own) for seed, own in runs.items()},
    }


def compare_random(setup: Setup, macs: float) -> tuple[list[dict[str, Any]], list[Contender]]:
    """Train random designs once each, and the best of them by validation afresh; return them and its row."""
    designs = random_designs(setup.space, macs, setup.options.designs, setup.known)
    for key, run in ({} if setup.known is None else setup.known.runs).items():
        setup.table.runs.setdefault(key, run)
    train(setup, ((design, CHOICE_SEED) for design in designs))
    runs = {d.digest: setup.table.runs[d.digest, CHOICE_SEED, setup.recipe.epochs] for d in designs}
    best = max(designs, key=lambda design: runs[design.digest].val_top1)
    row = Contender(RANDOM, f"best of {len(designs)}", dict.fromkeys(setup.seeds, best), "drawn so")
    train(setup, fresh_pairs(setup, row))
    numbers = ("digest", "val_top1", "test_top1", "seconds")
    drawn = [
        {"macs": costs(design).macs, **{name: getattr(runs[design.digest], name) for name in numbers}}
        for design in designs
    ]
    return drawn, [row]


def plain_row(setup: Setup, macs: float) -> dict[str, Any]:
    """Return the row of a residual network of so many MACs, trained in this process."""
    data, device = setup.data, torch.device(setup.allocation.device)
    kind = (data.in_channels, data.image_size, len(data.class_names))
    widths = residual_widths(macs, *kind)
    network = ResidualNetwork(widths, data.in_channels, len(data.class_names))
    accuracies: dict[str, dict[str, float]] = {"val_top1": {}, "test_top1": {}}
    for seed in setup.seeds:
        recipes = [replace(setup.recipe, seed=fresh) for fresh in setup.fresh_seeds(seed)]
        runs = [train_residual(widths, recipe, data, device, setup.options.scratch) for recipe in recipes]
        for score, values in accuracies.items():
            values[str(seed)] = fmean(run[score] for run in runs)
    counted = count_macs(network, data.in_channels, data.image_size)
    return {
        "group": PLAIN,
        "name": "residual network",
        "remark": f"widths {', '.join(map(str, widths))}",
        "designs": [],
        "macs": [counted],
        "params": [sum(parameter.numel() for parameter in network.parameters())],
        **accuracies,
    }
