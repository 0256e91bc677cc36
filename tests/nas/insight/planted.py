"""Designs of the attention table with accuracies that are a known function of their choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from nas.insight.choice_shares import Choice, choice_shares
from nas.ranking.trained_designs import TrainingTable
from search_spaces.architecture import Architecture
from search_spaces.cost import costs

TABLE = Path(__file__).parents[3] / "studies" / "attention_table" / "table.json"
#: What a value is worth in a stage, in points against others.
Worth = Mapping[tuple[Choice, str], float]


@cache
def table_designs() -> tuple[Architecture, ...]:
    """Return the designs of the attention table, 150 or more."""
    return tuple(design for design, _ in TrainingTable(TABLE).designs.values())[:150]


def plant(worth: Worth, noise: float, seed: int = 0, count: int = 150) -> list[tuple[Architecture, float]]:
    """Return designs whose accuracy rises by 3 points with each doubling of the MACs, by ``worth``, and by luck."""
    luck = np.random.default_rng(seed).normal(0, noise, count)
    found = []
    for design, error in zip(table_designs()[:count], luck, strict=True):
        shares = choice_shares(design)
        gain = sum(
            points * shares.get(choice, {}).get(value, 0.0) for (choice, value), points in worth.items()
        )
        found.append((design, 40 + 3 * math.log2(costs(design).macs / 1e6) + gain + float(error)))
    return found
