"""Scores of a supernet, corrected by what a few designs reach when they are trained alone.

A supernet is wrong about operators in one direction: those that learn fast among shared weights look better than they
are alone. A few trainings alone show by how much. Ridge regression (Hoerl & Kennard 1970) predicts the accuracy alone
from the supernet's score, the logarithms of MACs and parameters, and the share of each operator in each stage's blocks,
where a form of an operator, as dynamic kernels are of a convolution, counts as one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.ranking.trained_designs import TrainedDesign
from search_spaces.architecture import Architecture, Block
from search_spaces.cost import costs

#: Fewest trained designs that correct anything: with fewer, sizes and operators are fitted to noise.
LEAST_TRAINED = 16
#: Penalty of the squared coefficients of standardised features, and how many times less the score's own is punished.
#: Measured on the attention table (studies/supernet_ranking/NOTES.md).
PENALTY, TRUST = 10.0, 9.0


def calibrate(
    scores: Mapping[str, float], designs: Sequence[Architecture], trained: Sequence[TrainedDesign]
) -> dict[str, float]:
    """Return by digest the accuracy alone, in percent, that designs are predicted to reach.

    Args:
        scores: Of a supernet, by digest; higher is better.
        designs: What to predict; each has a score.
        trained: Designs with scores that were trained alone.

    Raises:
        ValueError: If there are fewer trained designs than it takes.
    """
    known = [each for each in trained if each.architecture.digest in scores]
    if len(known) < LEAST_TRAINED:
        raise ValueError(f"{len(known)} trained designs correct no score; it takes {LEAST_TRAINED}")
    every = {each.digest: each for each in (*designs, *(each.architecture for each in known))}
    names = sorted({name for each in every.values() for name in _operator_shares(each)})
    rows = [_features(each, scores[digest], names) for digest, each in every.items()]
    features = dict(zip(every, _standardise(np.array(rows)), strict=True))
    fitted = np.array([features[each.architecture.digest] for each in known])
    truths = np.array([each.val_top1 for each in known])
    centre, mean = fitted.mean(axis=0), truths.mean()
    deviations = fitted - centre
    gram = deviations.T @ deviations + PENALTY * np.eye(fitted.shape[1])
    coefficients = np.linalg.solve(gram, deviations.T @ (truths - mean))
    return {each.digest: float(mean + (features[each.digest] - centre) @ coefficients) for each in designs}


def _features(design: Architecture, score: float, names: Sequence[tuple[int, str]]) -> list[float]:
    shares, analytic = _operator_shares(design), costs(design)
    return [
        score,
        math.log(analytic.macs),
        math.log(analytic.params),
        *(shares.get(name, 0.0) for name in names),
    ]


def _operator_shares(design: Architecture) -> dict[tuple[int, str], float]:
    """Return the share of each form of an operator among the blocks of each stage."""
    shares: dict[tuple[int, str], float] = {}
    for number, stage in enumerate(design.stages):
        for block in stage.blocks:
            key = (number, _form(block))
            shares[key] = shares.get(key, 0.0) + 1 / len(stage.blocks)
    return shares


def _form(block: Block) -> str:
    """Return a block's operator with those of its knobs that are names; numbers, as sizes, make no other form."""
    names = (value for value in block.settings.values() if isinstance(value, str))
    return " ".join((block.operator, *names))


def _standardise(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return features of mean 0 and variance 1, but for the first, the score, whose variance is ``TRUST``."""
    deviation = rows.std(axis=0)
    scaled = (rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    scaled[:, 0] *= math.sqrt(TRUST)
    result: np.ndarray[Any, Any] = scaled
    return result
