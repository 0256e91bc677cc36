"""Which names of folders are those of a set's parts: ``train``, ``Testing``, ``val2017``, ``seg_test``, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

#: ``unlabelled`` images are nobody's to train or test on; ``fold`` is a numbered share of a set.
Role = Literal["train", "val", "test", "unlabelled", "fold"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "learn", "learning"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation", "evaluate"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "tests", "holdout"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled"), "unlabelled"),
    **dict.fromkeys(("fold", "split", "part", "subset", "cv"), "fold"),
}  # fmt: skip
_FILLERS: tuple[str, ...] = (
    "images",
    "image",
    "imgs",
    "img",
    "dataset",
    "datasets",
    "data",
    "set",
    "sets",
    "pictures",
    "photos",
)
_FILLERS += ("folder", "split", "samples", "examples")


def role_of(name: str, siblings: Sequence[str] = ()) -> Role | None:
    """Return the part that a folder's name stands for, or None.

    Args:
        name: The folder's name.
        siblings: Names of the folders beside it: words that all of them share, such as the set's, say nothing.
    """
    words = _words(name)
    if len(siblings) > 1:
        shared = set.intersection(*(set(_words(sibling)) for sibling in {name, *siblings}))
        # Where all are parts of one kind, their common word is the very one that counts.
        words = [word for word in words if word not in shared or word in _ROLES]
    telling = [word for word in words if not word.isdigit() and word not in _FILLERS]
    roles = [
        _ROLES.get(_without_filler(word))
        for word in telling or [word for word in words if not word.isdigit()]
    ]
    if len(roles) != 1 or (roles[0] == "fold" and not any(word.isdigit() for word in words)):
        return None
    return roles[0]


def _words(name: str) -> list[str]:
    """Split a name at anything but letters and digits, and between letters and digits."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+|\d+", spaced.lower())


def _without_filler(word: str) -> str:
    """Return ``train`` of ``trainset`` and of ``traindata``."""
    for filler in _FILLERS:
        if word not in _ROLES and word.endswith(filler) and word.removesuffix(filler) in _ROLES:
            return word.removesuffix(filler)
    return word
