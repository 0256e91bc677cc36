"""A data set of noise whose splits are known image by image."""

from __future__ import annotations

import numpy as np
import torch

from nas.data.augment import Augmentation
from nas.data.dataset import Data
from nas.data.images import InMemoryImages
from nas.data.splits import Split
from nas.data.summary import DataSummary

TRAIN, VAL, TEST = 24, 4, 5


def three_splits(augmentation: Augmentation) -> Data:
    """Return noise to train on; all images of validation and test are one picture.

    Validation calls it the first class and the test the second, so a network is right on one of them at most.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (TRAIN + VAL + TEST, 3, 16, 16)).astype(np.uint8)
    pixels[TRAIN:] = pixels[TRAIN]
    labels = torch.cat([torch.arange(TRAIN) % 2, torch.zeros(VAL), torch.ones(TEST)]).long()
    labels[:TRAIN] = 0  # so that the first class is what is learned
    labels[0] = 2
    images = InMemoryImages(torch.from_numpy(pixels))

    def split(first: int, size: int) -> Split:
        members = torch.arange(first, first + size)
        return Split(images, members, labels[members], (0.5,) * 3, (0.3,) * 3, augmentation)

    parts = {"train": split(0, TRAIN), "val": split(TRAIN, VAL), "test": split(TRAIN + VAL, TEST)}
    summary = DataSummary("noise", "0", 16, 3, {"a": 29, "b": 5, "c": 1}, dict.fromkeys(parts, 1))
    return Data(
        "noise", 16, 3, ("a", "b", "c"), (0.5,) * 3, (0.3,) * 3, parts["train"], parts["val"], augmentation,
        "0", summary, 2, parts["test"],
    )  # fmt: skip
