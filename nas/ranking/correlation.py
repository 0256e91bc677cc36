"""How alike two orders are, from -1 to 1: Kendall's tau-b (Biometrika 1938), which counts ties, and Spearman's rho.

Both take samples in which each pair may occur several times, as those of a bootstrap do. NumPy alone is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def kendall_tau(scores: Sequence[float], truths: Sequence[float]) -> float:
    """Return Kendall's tau-b, not a number where all scores or all truths are equal."""
    return float(kendall_taus(*to_arrays(scores, truths), np.ones((1, len(scores))))[0])


def spearman_rho(scores: Sequence[float], truths: Sequence[float]) -> float:
    """Return Spearman's rho, not a number where all scores or all truths are equal."""
    return float(spearman_rhos(*to_arrays(scores, truths), np.ones((1, len(scores))))[0])


def to_arrays(scores: Sequence[float], truths: Sequence[float]) -> tuple[Array, Array]:
    """Return both as arrays of floats."""
    return np.asarray(scores, dtype=float), np.asarray(truths, dtype=float)


def kendall_taus(scores: Array, truths: Array, counts: Array) -> Array:
    """Return tau-b of samples that hold the i-th pair ``counts[sample, i]`` times."""
    signs = [np.sign(each[:, None] - each[None, :]) for each in (scores, truths)]

    def weigh(matrix: Array) -> Array:
        weighed: Array = np.einsum("si,si->s", counts @ matrix, counts)
        return weighed

    untied = np.sqrt(weigh(np.abs(signs[0])) * weigh(np.abs(signs[1])))
    return weigh(signs[0] * signs[1]) / np.where(untied, untied, np.nan)


def spearman_rhos(scores: Array, truths: Array, counts: Array) -> Array:
    """Return Spearman's rho of samples that hold the i-th pair ``counts[sample, i]`` times."""
    totals = counts.sum(axis=1, keepdims=True)
    centred = []
    for each in (scores, truths):
        below, equal = each[:, None] < each[None, :], each[:, None] == each[None, :]
        ranks = counts @ below + (counts @ equal + 1) / 2
        centred.append(ranks - (totals + 1) / 2)

    def covary(one: Array, other: Array) -> Array:
        weighed: Array = np.sum(counts * one * other, axis=1)
        return weighed

    spread = np.sqrt(covary(centred[0], centred[0]) * covary(centred[1], centred[1]))
    return covary(*centred) / np.where(spread, spread, np.nan)
