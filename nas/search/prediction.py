"""Predicts a score of designs that nobody evaluated from those that were, by Bayesian linear regression.

MacKay 1992, "Bayesian interpolation", doi 10.1162/neco.1992.4.3.415: weights have a normal prior of precision ``alpha``
and scores a normal error of precision ``beta``, both of which are those that make the data most likely. It is ridge
regression that needs no validation to choose how much it shrinks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Architecture, Block
from search_spaces.cost import costs

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_ITERATIONS = 30  # of alpha and beta
_MOST = 1e6  # of either, and of its inverse
Array = npt.NDArray[np.float64]


def describe(design: Architecture) -> dict[str, float]:
    """Return features of a design, by name; one that it lacks is 0.

    They are stem and size, width, heads and depth of each stage, the options of each block (its operator, every knob,
    encoding, MLP), how many blocks of a stage and of all have each option, and logarithms of MACs and parameters.
    """
    found: Counter[str] = Counter()
    found[f"stem {design.stem}"] = found[f"size {design.image_size}"] = 1
    for number, stage in enumerate(design.stages):
        found[f"{number} downsample {stage.downsample}"] = found[f"{number} depth {len(stage.blocks)}"] = 1
        found[f"{number} dim {stage.dim}"] = found[f"{number} heads {stage.num_heads}"] = 1
        for index, block in enumerate(stage.blocks):
            found.update(_describe_block(number, index, block))
    cost = costs(design)
    return {**found, "log macs": math.log(cost.macs), "log params": math.log(cost.params)}


@lru_cache(maxsize=2**14)  # thousands of designs are described of the same few hundred blocks
def _describe_block(number: int, index: int, block: Block) -> tuple[str, ...]:
    """Return the features of a block: each of its options at its place, in its stage, and anywhere."""
    name = block.operator
    options = [name, f"{name} {block.pos}", f"mlp {block.mlp_ratio:g}"]
    options += [f"{name} {knob} {value}" for knob, value in block.settings.items()]
    return tuple(
        feature
        for option in options
        for feature in (f"{number}.{index} {option}", f"{number} {option}", option)
    )


class Prediction:
    """A linear regression whose shrinkage fits its data.

    Args:
        features: ``describe`` of each design that has a score.
        scores: The scores, at least one.
    """

    def __init__(self, features: Sequence[Mapping[str, float]], scores: Sequence[float]) -> None:
        names = sorted({name for one in features for name in one})
        self._columns = {name: column for column, name in enumerate(names)}
        raw, targets = self._to_matrix(features), np.asarray(scores, dtype=float)
        self._mean, self._scale = raw.mean(axis=0), raw.std(axis=0)
        self._scale[self._scale == 0] = np.inf  # what all have tells nothing
        self._offset, spread = float(targets.mean()), float(targets.std()) or 1.0
        targets = (targets - self._offset) / spread
        rows = (raw - self._mean) / self._scale
        # In the basis of the eigenvectors the weights are independent of one another.
        squares, basis = _eigenvectors(rows)
        projected, square = basis.T @ (rows.T @ targets), float(targets @ targets)
        alpha, beta = 1.0, 2.0
        for _ in range(_ITERATIONS):
            weights = beta * projected / (alpha + beta * squares)
            effective = float(np.sum(beta * squares / (alpha + beta * squares)))
            rest = square - 2 * float(weights @ projected) + float(squares @ weights**2)
            alpha = _bound(effective / max(1 / _MOST, float(weights @ weights)))
            beta = _bound((len(targets) - effective) / max(1 / _MOST, rest))
        self._weights: Array = spread * basis @ (beta * projected / (alpha + beta * squares))

    def _to_matrix(self, features: Sequence[Mapping[str, float]]) -> Array:
        """Return features as rows; those that no design had from which it was learned are left out."""
        matrix = np.zeros((len(features), len(self._columns)))
        for row, one in enumerate(features):
            for name, value in one.items():
                if name in self._columns:
                    matrix[row, self._columns[name]] = value
        return matrix

    def __call__(self, features: Sequence[Mapping[str, float]]) -> Array:
        """Return the expected score of each design, given by its features."""
        expected: Array = (
            self._offset + ((self._to_matrix(features) - self._mean) / self._scale) @ self._weights
        )
        return expected


def _eigenvectors(rows: Array) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors, as columns, of ``rows.T @ rows``: less work than the rows' singular values.

    One thread computes them: more would wait for one another at this size, and round differently on other machines.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        squares, basis = np.linalg.eigh(rows.T @ rows)
    return np.maximum(squares, 0.0), basis


@cache
def _libraries() -> ThreadpoolController:
    """Return the hold on numpy's linear algebra, which takes a moment to be found."""
    import threadpoolctl  # sets a variable of the environment when it is imported

    return threadpoolctl.ThreadpoolController()


def _bound(value: float) -> float:
    return min(_MOST, max(1 / _MOST, value))
