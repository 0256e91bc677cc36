"""Which images of a set are read next, and by which random numbers they are varied."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nas.data.augment import BatchRandomness


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One batch to read.

    Attributes:
        indices: Of the images, shape ``(B,)``.
        randomness: Random numbers of the images; None leaves them as they are.
    """

    indices: Tensor
    randomness: BatchRandomness | None
