"""What every source of images provides, whether it lies in memory, in a folder or in a library's data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

#: The split that an image was declared to belong to; ``any`` where the set does not say.
SplitName = Literal["train", "val", "test", "any"]


class UndecodedImages(Protocol):
    """Images that are opened one by one. Worker processes get copies, so implementations can be pickled."""

    def open(self, index: int) -> Image.Image:
        """Open image ``index``."""
        ...

    def describe(self, index: int) -> str:
        """Return what to call image ``index`` in an error message, such as its path."""
        ...


@dataclass(frozen=True)
class Source:
    """A set of labelled images that are not decoded yet.

    Attributes:
        name: Short name for tables and file names.
        labels: Class index of every image.
        class_names: Names, in the order of the indices.
        declared_splits: The split that each image was declared to belong to.
        images: The images, opened by index.
        fingerprint: Changes when the images do; None where that cannot be known, and nothing is cached.
    """

    name: str
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    declared_splits: tuple[SplitName, ...]
    images: UndecodedImages
    fingerprint: str | None


def repeat_split(split: SplitName, count: int) -> tuple[SplitName, ...]:
    """Return the declared splits of ``count`` images that all belong to ``split``."""
    return (split,) * count
