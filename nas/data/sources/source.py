"""What every source of images provides, whether it lies in memory, in a folder or in a library's data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class SourceReport:
    """What was met while a source was read, for people.

    Attributes:
        layout: What was read as what, in sentences.
        skipped: How many files were passed over, by reason.
        broken: Files that cannot be read and why.
        notes: Decisions that change which images are used.
        warnings: What the user should look at.
        modes: How many images there are of each of Pillow's modes; empty where only a sample was looked at.
        sides: Shortest and longest side of all images, in pixels; None where only a sample was looked at.
        read_otherwise: Images that version 0.1 would have read as others: turned or transparent ones.
    """

    layout: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    broken: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    sides: tuple[int, int] | None = None
    read_otherwise: int = 0


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
        contents: Hash of each image's content, by which splits are decided; None for sets whose order is fixed.
        size_and_channels: Side that all images share (None where they do not) and channels; None where nobody
            has looked at all of them.
        report: What was met while it was read.
    """

    name: str
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    declared_splits: tuple[SplitName, ...]
    images: UndecodedImages
    fingerprint: str | None
    contents: tuple[str, ...] | None = None
    size_and_channels: tuple[int | None, int] | None = None
    report: SourceReport = SourceReport()


def repeat_split(split: SplitName, count: int) -> tuple[SplitName, ...]:
    """Return the declared splits of ``count`` images that all belong to ``split``."""
    return (split,) * count
