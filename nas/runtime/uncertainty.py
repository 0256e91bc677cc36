"""Accuracies with what they were counted on: standard error, interval, digits, and whether two of them differ.

An accuracy is a share of images that are right. What is known of the true one is limited by their number: the
standard error of a share p of n images is sqrt(p (1 - p) / n). Two networks scored on the same images are compared
image by image (McNemar's test, Psychometrika 1947), which is sharper than comparing two independent shares: images
that both get right or both get wrong say nothing of their difference.

None of this knows what another seed of the training, or other training images, would have changed.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import NormalDist
from typing import Any

#: Confidence of intervals and tests.
CONFIDENCE = 0.95
#: Images below which a set is called small: at 90% the standard error is above 1.3 points.
SMALL_SET = 500
_TYPICAL_TOP1 = 90.0  # at which the error of a set of images is stated before anything was evaluated
_MOST_IMAGES = 10**5  # beyond which a share does not tell the number of its images


@dataclass(frozen=True)
class Accuracy:
    """A top-1 accuracy and the images it was counted on.

    Args:
        top1: Percent.
        images: How many; None where it is not known.
        correct: Which of them were right, one bit an image, the first in the highest; None where it is not known.
    """

    top1: float
    images: int | None = None
    correct: int | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return format_accuracy(self.top1, self.images)

    @classmethod
    def from_result(cls, result: Mapping[str, Any], split: str) -> Accuracy:
        """Return the accuracy that a result of retraining holds of ``val`` or ``test``; old ones lack some fields."""
        images = result.get(f"{split}_images")
        return cls(
            float(result[f"{split}_top1"]), images, decode_bits(result.get(f"{split}_correct"), images)
        )


def error_fields(name: str, value: float, images: int | None) -> dict[str, Any]:
    """Return what JSON says beside an accuracy ``name`` in percent: ``NAME_se`` and ``NAME_interval``."""
    if images is None:
        return {f"{name}_se": None, f"{name}_interval": None}
    return {
        f"{name}_se": standard_error(value, images),
        f"{name}_interval": list(wilson_interval(value, images)),
    }


def standard_error(top1: float, images: int) -> float:
    """Return the binomial standard error of a ``top1`` in percent, in points."""
    share = top1 / 100
    return 100 * math.sqrt(max(0.0, share * (1 - share)) / images)


def wilson_interval(top1: float, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of Wilson (1927) around a ``top1``, in percent; it has a width at 0% and 100% too.

    Args:
        top1: Percent.
        images: How many it was counted on.
        confidence: Probability of covering the true accuracy.
    """
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), top1 / 100
    shrink = 1 + z * z / images
    centre = (share + z * z / (2 * images)) / shrink
    half = z * math.sqrt(max(0.0, share * (1 - share)) / images + z * z / (4 * images**2)) / shrink
    # Rounding must not put the estimate itself outside.
    low, high = min(top1, 100 * (centre - half)), max(top1, 100 * (centre + half))
    return max(0.0, low), min(100.0, high)


def error_bar(top1: float, images: int | None) -> tuple[float, float]:
    """Return how far a bar of one standard error reaches below and above, in points; nowhere if it is unknown."""
    if images is None:
        return 0.0, 0.0
    low, high = wilson_interval(top1, images, 2 * NormalDist().cdf(1) - 1)
    return top1 - low, high - top1


def num_decimals(images: int | None) -> int:
    """Return the decimals that an accuracy in percent deserves: its error falls with the root of the images."""
    return 1 if images is None else (len(str(images)) - 1) // 2


def format_accuracy(top1: float, images: int | None) -> str:
    """Return a ``top1`` with its standard error: ``97.0 ± 0.5%``; at 0% and 100% with its interval instead."""
    decimals = num_decimals(images)
    if images is None:
        return f"{top1:.{decimals}f}% (error unknown)"
    error = standard_error(top1, images)
    if error < 1e-9:  # none or all are right: the formula knows no error, the interval does
        low, high = wilson_interval(top1, images)
        return f"{top1:.0f}% ({low:.{decimals}f}-{high:.{decimals}f}%)"
    while decimals < 4 and round(error, decimals) == 0:
        decimals += 1
    return f"{top1:.{decimals}f} ± {error:.{decimals}f}%"


def is_tie(one: Accuracy, other: Accuracy) -> bool:
    """Return whether two accuracies are within noise of one another: no difference is shown at 95%.

    Where it is known which images each got right, the test is McNemar's exact one. Where it is not, errors count as
    independent, which calls more pairs ties; where not even the number of images is known, all are.
    """
    if one.images is None or other.images is None:
        return True
    if one.images == other.images and one.correct is not None and other.correct is not None:
        wins = (one.correct & ~other.correct).bit_count()
        losses = (other.correct & ~one.correct).bit_count()
    else:
        images, a, b = min(one.images, other.images), one.top1 / 100, other.top1 / 100
        wins, losses = round(images * a * (1 - b)), round(images * b * (1 - a))
    return mcnemar_p_value(wins, losses) > 1 - CONFIDENCE


def mcnemar_p_value(wins: int, losses: int) -> float:
    """Return the two-sided probability of so unequal a split of images that only one of two networks gets right.

    Args:
        wins: Images that only the first is right on.
        losses: Images that only the second is right on.
    """
    total, fewer = wins + losses, min(wins, losses)
    logs = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * sum(map(math.exp, logs)))


def least_difference(images: int) -> float:
    """Return the points of top-1 below which no two designs on the same ``images`` can be told apart.

    McNemar's test needs this many images that only one of them is right on, and none that only the other is.
    """
    needed = next(count for count in range(1, 64) if mcnemar_p_value(count, 0) <= 1 - CONFIDENCE)
    return 100 * needed / images


def describe_resolution(images: int) -> str:
    """Return what accuracies on so many validation images can tell, in a sentence."""
    error, least = standard_error(_TYPICAL_TOP1, images), least_difference(images)
    independent = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(2) * error
    apart = (
        "no two designs can be told apart"
        if least > 100
        else f"designs less than {least:.2g} points apart cannot be told apart"
        + (
            f" (less than {independent:.2g} where they err on different images)"
            if independent > least
            else ""
        )
    )
    return (
        f"on {images} validation images an accuracy of {_TYPICAL_TOP1:.0f}% has a standard error of "
        f"{error:.2g} points, and {apart}"
    )


def warn_of_small_set(images: int) -> list[str]:
    """Return a warning where so few validation images hardly tell designs apart; none where they are enough."""
    if images >= SMALL_SET:
        return []
    return [f"{images} validation images are few: most designs will be within noise of each other; give more"]


def largest_optimism(accuracy: Accuracy, designs: int) -> float:
    """Return by how many points the best of ``designs`` looks better than it is, on average and at most.

    The expected maximum of as many independent normal errors (Blom 1958). It is reached where all designs are equally
    good; errors on the same images are correlated, and the best stands out, so it is less.
    """
    if accuracy.images is None:
        return 0.0
    quantile = NormalDist().inv_cdf((designs - 0.375) / (designs + 0.25))
    return max(error_bar(accuracy.top1, accuracy.images)) * quantile


def infer_images(top1s: Iterable[float]) -> int | None:
    """Return the least number of images that all of some accuracies can be shares of, or None.

    The true number is a multiple of it, so that errors computed from it are never too small.
    """
    images = 1
    for top1 in set(top1s):
        share = Fraction(top1 / 100).limit_denominator(_MOST_IMAGES)
        if abs(float(share) - top1 / 100) > 1e-13:  # rounding is a thousand times less
            return None
        images = math.lcm(images, share.denominator)
        if images > _MOST_IMAGES:
            return None
    return images if images > 1 else None


def encode_bits(correct: int | None, images: int | None) -> str | None:
    """Return which images were right as text: base64 of the compressed bits."""
    if correct is None or images is None:
        return None
    return base64.b64encode(zlib.compress(correct.to_bytes(-(-images // 8), "big"), 9)).decode("ascii")


def decode_bits(text: str | None, images: int | None) -> int | None:
    """Return which images were right from the text of `encode_bits`; None where it is absent or damaged."""
    if text is None or images is None:
        return None
    try:
        bits = int.from_bytes(zlib.decompress(base64.b64decode(text, validate=True)), "big")
    except (binascii.Error, zlib.error, TypeError, ValueError):
        return None
    return bits if bits.bit_length() <= images else None
