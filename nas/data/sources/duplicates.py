"""The same picture under several names: never in two parts of a set, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.data.sources.source import SplitName

# A picture that is in several parts stays in the first of these.
_PRECEDENCE: tuple[SplitName, ...] = ("test", "val", "train", "any")


@dataclass(frozen=True)
class Duplicates:
    """What was found of pictures that are there more than once.

    Attributes:
        kept: Which images to keep, ascending.
        notes: What was left out or kept together, in sentences.
        warnings: Pictures that are under two classes.
    """

    kept: list[int]
    notes: list[str]
    warnings: list[str]


def resolve_duplicates(
    contents: Sequence[str], labels: Sequence[int], splits: Sequence[SplitName]
) -> Duplicates:
    """Keep a picture that lies in several parts in the one that it must not leak from: test, then validation.

    Args:
        contents: Hash of the content of each image.
        labels: Class of each.
        splits: Declared part of each.
    """
    home: dict[str, SplitName] = {}
    classes: dict[str, set[int]] = {}
    for content, label, split in zip(contents, labels, splits, strict=True):
        classes.setdefault(content, set()).add(label)
        if content not in home or _PRECEDENCE.index(split) < _PRECEDENCE.index(home[content]):
            home[content] = split
    kept = [index for index, content in enumerate(contents) if home[content] == splits[index]]
    notes, warnings = [], []
    for split in ("train", "val"):
        moved = [
            home[content]
            for content, own in zip(contents, splits, strict=True)
            if own == split and home[content] != own
        ]
        for other in sorted(set(moved)):
            notes.append(
                f"pictures of the {split} part that are in the {other} part too, and are left out of {split}: "
                f"{moved.count(other)}"
            )
    if repeated := len(kept) - len({contents[index] for index in kept}):
        notes.append(f"files that repeat the picture of another one, all in one split: {repeated}")
    if several := sum(len(each) > 1 for each in classes.values()):
        warnings.append(f"pictures that are under two classes or more: {several}")
    return Duplicates(kept, notes, warnings)
