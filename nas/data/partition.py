"""Which images belong to which split, whatever the search, the seed of a search, or the machine.

A split is decided by hashing (seed, class, position), not by a library's generator, so that it survives
upgrades. The default seed is a constant that has nothing to do with a search's seed.
"""

from __future__ import annotations

from nas.data.hashing import text_hash
from nas.data.sources.source import Source, SplitName
from search_spaces.errors import DataError

SPLIT_SEED = 0
# Shares of a class that are held out where the set does not say: 70% remain for training.
_HELD_OUT: dict[SplitName, float] = {"val": 0.1, "test": 0.2}


def split_indices(source: Source, seed: int) -> dict[SplitName, list[int]]:
    """Assign every image to a split.

    Declared splits stay as they are; a share of each class makes those that are missing.

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
    missing = {split: share for split, share in _HELD_OUT.items() if split not in declared}
    splits: dict[SplitName, list[int]] = {"train": [], "val": [], "test": []}
    classes: list[list[int]] = [[] for _ in source.class_names]
    for index, (split, label) in enumerate(zip(source.declared_splits, source.labels, strict=True)):
        if split in ("val", "test"):
            splits[split].append(index)
        else:
            classes[label].append(index)
    for name, members in zip(source.class_names, classes, strict=True):
        if len(members) <= len(missing):
            raise DataError(
                f"class '{name}' of {source.name} has too few images to split: {len(members)} where at least "
                f"{len(missing) + 1} must be there to train on"
            )
        shuffled = sorted(range(len(members)), key=lambda i: text_hash(f"{seed}/{name}/{i}"))
        start = 0
        for split, share in missing.items():
            end = start + max(1, round(share * len(members)))
            splits[split] += [members[i] for i in shuffled[start:end]]
            start = end
        splits["train"] += [members[i] for i in shuffled[start:]]
    return {split: sorted(indices) for split, indices in splits.items()}
