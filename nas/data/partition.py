"""Which images belong to which split, whatever the search, the seed of a search, or the machine.

A split is decided by hashing the seed with what an image is known by, not by a library's generator, so that it
survives upgrades: by its content where that is known, so that files can be renamed and copied, else by its class
and position. The default seed is a constant that has nothing to do with a search's seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.data.hashing import text_hash
from nas.data.sources.source import Source, SplitName
from search_spaces.errors import DataError

SPLIT_SEED = 0
# Shares of a class that are held out where the set does not say: 70% remain for training.
_HELD_OUT: dict[SplitName, float] = {"val": 0.1, "test": 0.2}


def split_indices(source: Source, seed: int) -> dict[SplitName, list[int]]:
    """Assign every image to a split.

    Declared splits stay as they are; a share of each class makes those that are missing. Images of the same
    content come into the same split, whatever their classes.

    Returns:
        The indices of the images of ``train``, ``val`` and ``test``, ascending.

    Raises:
        DataError: There is a single class, or a class has too few images.
    """
    if len(source.class_names) < 2:
        raise DataError(
            f"{source.name} has a single class, '{source.class_names[0]}'; there must be two or more"
        )
    declared = set(source.declared_splits)
    missing = [split for split in _HELD_OUT if split not in declared]
    splits: dict[SplitName, list[int]] = {"train": [], "val": [], "test": []}
    classes: list[list[int]] = [[] for _ in source.class_names]
    for index, (split, label) in enumerate(zip(source.declared_splits, source.labels, strict=True)):
        if split in ("val", "test"):
            splits[split].append(index)
        else:
            classes[label].append(index)
    homes: dict[str, SplitName] = {}
    for name, members in zip(source.class_names, classes, strict=True):
        if len(members) <= len(missing):
            raise DataError(
                f"class '{name}' of {source.name} has too few images to split: {len(members)} where at least "
                f"{len(missing) + 1} must be there to train on"
            )
        carved = _carve(_group(source, name, members), missing, seed, homes)
        for split, indices in carved.items():
            splits[split] += indices
        needed: list[SplitName] = ["train", *missing]
        if lacking := [split for split in needed if not carved.get(split)]:
            raise DataError(
                f"class '{name}' of {source.name} has too few different images to split: none is left for "
                f"{lacking[0]}; add some, or remove copies"
            )
    return {split: sorted(indices) for split, indices in splits.items()}


def _group(source: Source, name: str, members: Sequence[int]) -> dict[str, list[int]]:
    """Return the images of a class by what they are known by; copies of one picture come together."""
    groups: dict[str, list[int]] = {}
    for position, index in enumerate(members):
        key = f"{name}/{position}" if source.contents is None else source.contents[index]
        groups.setdefault(key, []).append(index)
    return groups


def _carve(
    groups: dict[str, list[int]], missing: Sequence[SplitName], seed: int, homes: dict[str, SplitName]
) -> dict[SplitName, list[int]]:
    """Take the missing splits from one class; what remains is for training.

    Args:
        groups: Images of the class, by what they are known by.
        missing: Splits that the set does not declare.
        seed: Of the split.
        homes: Splits of the pictures that another class had before; those of this one are added.
    """
    carved: dict[SplitName, list[int]] = {}
    free = []
    for key in sorted(groups, key=lambda key: text_hash(f"{seed}/{key}")):
        if key in homes:
            carved.setdefault(homes[key], []).extend(groups[key])
        else:
            free.append(key)
    total = sum(map(len, groups.values()))
    for split in missing:
        wanted, chosen = max(1, round(_HELD_OUT[split] * total)), carved.setdefault(split, [])
        for key in free:
            if len(chosen) >= wanted:
                break
            # A picture with more copies than a split has room for is trained on.
            if len(chosen) + len(groups[key]) <= wanted:
                chosen += groups[key]
                homes[key] = split
        if not chosen and len(free) > 1:
            smallest = min(free, key=lambda key: len(groups[key]))
            chosen += groups[smallest]
            homes[smallest] = split
        free = [key for key in free if key not in homes]
    for key in free:
        carved.setdefault("train", []).extend(groups[key])
        homes[key] = "train"
    return carved
