"""One's own images: map-style data sets such as ``torch.utils.data.Dataset``, whose items are ``(image, label)``.

An image is a PIL image, a tensor or an array: bytes in 0 to 255 or floats in 0 to 1, ``(C, H, W)``, ``(H, W, C)`` or
``(H, W)`` of one channel or three. All items are read once to know them by content, as the files of a folder are: their
order and what the data set is called change nothing, and a study refuses others when it goes on.
"""

from __future__ import annotations

import hashlib
import operator
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from nas.data.hashing import json_digest
from nas.data.pixels import GREY_MODES, find_refusal, to_upright_opaque
from nas.data.sources.duplicates import resolve_duplicates
from nas.data.sources.source import Source, SourceReport, SplitName
from nas.data.threads import OnProgress
from nas.runtime.error_text import first_line
from search_spaces.errors import DataError

#: Begins the ``--data`` spec of a study whose images were given in Python.
PREFIX = "dataset:"
_CHANNELS = (1, 3)
_WORDS: dict[SplitName, str] = {"train": "train", "val": "validation", "test": "test"}
_READ_TWICE = 8  # items that are read again, to see whether they change


class Items(Protocol):
    """A map-style data set: items ``(image, label)`` by index."""

    def __len__(self) -> int:
        """Return how many items there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Return item ``index``."""


@dataclass(frozen=True)
class OwnImages:
    """The images of one's own data sets, by their number in a source.

    Attributes:
        parts: The data sets.
        names: What each is called in messages.
        places: Data set and item of each image, shape ``(N, 2)``.
    """

    parts: tuple[Items, ...]
    names: tuple[str, ...]
    places: np.ndarray[Any, np.dtype[np.int64]]
    # Data sets are seldom made to be read by several threads at once.
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def open(self, index: int) -> Image.Image:
        """Return image ``index``."""
        part, item = self.places[index].tolist()
        with self._lock:
            return to_image(self.parts[part][item][0])

    def describe(self, index: int) -> str:
        """Return which item of which data set it is."""
        part, item = self.places[index].tolist()
        return f"item {item} of {self.names[part]}"

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "names": self.names, "places": self.places}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in {**state, "_lock": threading.Lock()}.items():
            object.__setattr__(self, name, value)


class _WrongImage(ValueError):
    """A value that is no image; its text says why."""


def to_image(value: Any) -> Image.Image:
    """Return what a data set gives as an image that the receiver may change and close.

    Raises:
        ValueError: If it is no image; the text says why.
    """
    if isinstance(value, Image.Image):
        if refusal := find_refusal(value):
            raise _WrongImage(refusal)
        return value.copy()
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise _WrongImage(f"it is a {type(value).__name__}, not a PIL image, a tensor or an array")
    shape = "x".join(map(str, value.shape))
    if value.ndim == 3 and value.shape[0] in _CHANNELS and value.shape[2] not in _CHANNELS:
        value = value.transpose(1, 2, 0)
    elif value.ndim == 3 and value.shape[0] in _CHANNELS and value.shape[2] in _CHANNELS:
        raise _WrongImage(f"its shape {shape} does not say which axis holds the channels")
    if value.ndim == 3 and value.shape[2] == 1:
        value = value[:, :, 0]
    if not (value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 3)) or 0 in value.shape:
        raise _WrongImage(f"its shape is {shape}, not (C, H, W), (H, W, C) or (H, W) of one channel or three")
    return Image.fromarray(_to_bytes(value))


def _to_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise _WrongImage(f"its values are {array.dtype}, not bytes (uint8) or floats in 0 to 1")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise _WrongImage(
            f"its values go from {low:.3g} to {high:.3g}, and floats must be in 0 to 1; leave normalisation out, it is "
            "done in training"
        )
    return np.ascontiguousarray((array * 255).round().astype(np.uint8))


def read_own_datasets(
    parts: Mapping[SplitName, Items],
    *,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Source:
    """Read every item of one's own data sets once.

    Args:
        parts: The data sets by split; ``train`` among them. What is missing is taken from ``train``, class by class.
        name: What they are called; the training set's type where it is left out.
        class_names: Names in the order of the labels; those of ``train.classes``, else numbers.
        on_progress: Called with ``(done, total)``.

    Raises:
        DataError: If a data set is none, is empty, or has an item that cannot be used, or its items change from one
            reading to the next.
    """
    total = sum(_count(split, dataset) for split, dataset in parts.items())
    found: list[_Item] = []
    for number, (split, dataset) in enumerate(parts.items()):
        for index in range(len(dataset)):
            found.append(_read_item(dataset, split, number, index))
            if on_progress is not None:
                on_progress(len(found), total)
    for each in found[:: max(1, len(found) // _READ_TWICE)]:
        if _read_item(parts[each.split], each.split, each.part, each.index) != each:
            raise DataError(
                f"item {each.index} of {_WORDS[each.split]} is another one each time it is read; leave random "
                "transforms out, training varies images itself"
            )
    names = _find_class_names(parts["train"], 1 + max(each.label for each in found), class_names)
    # By content, so that the order of a data set decides nothing.
    found.sort(key=lambda each: (each.split, each.label, each.content))
    duplicates = resolve_duplicates(
        [each.content for each in found], [each.label for each in found], [each.split for each in found]
    )
    kept = [found[index] for index in duplicates.kept]
    if lost := set(parts) - {each.split for each in kept}:
        raise DataError(f"no image of {_WORDS[min(lost)]} is left: the other data sets hold all of them too")
    sides = {side for each in kept for side in each.size}
    modes = Counter(each.mode for each in kept)
    return Source(
        name=name or type(parts["train"]).__name__,
        labels=tuple(each.label for each in kept),
        class_names=names,
        declared_splits=tuple(each.split for each in kept),
        images=OwnImages(
            tuple(parts.values()),
            tuple(_WORDS[split] for split in parts),
            np.array([(each.part, each.index) for each in kept], dtype=np.int64),
        ),
        fingerprint=json_digest([each.content for each in kept]),
        contents=tuple(each.content for each in kept),
        size_and_channels=(
            next(iter(sides)) if len(sides) == 1 else None,
            1 if set(modes) <= set(GREY_MODES) else 3,
        ),
        report=SourceReport(
            layout=tuple(
                f"{_WORDS[split]}: a data set of {len(dataset)} items" for split, dataset in parts.items()
            ),
            notes=tuple(duplicates.notes),
            warnings=tuple(duplicates.warnings),
            modes=dict(modes.most_common()),
            sides=(min(sides), max(sides)),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """What was found of one item."""

    split: SplitName
    part: int
    index: int
    label: int
    content: str
    mode: str
    size: tuple[int, int]


def _count(split: SplitName, dataset: Any) -> int:
    """Return how many items a data set has.

    Raises:
        DataError: If it has none, or is no map-style data set.
    """
    kind, word = type(dataset).__name__, _WORDS[split]
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"{word} is a {kind}, which cannot be read by index; give a map-style data set, with __len__ and "
            "__getitem__"
        )
    try:
        count = len(dataset)
    except TypeError as error:
        raise DataError(f"{word}, a {kind}, does not say how many items it has ({error})") from None
    if count == 0:
        raise DataError(f"{word}, a {kind}, is empty; give it images")
    return count


def _read_item(dataset: Items, split: SplitName, part: int, index: int) -> _Item:
    """Return what an item shows.

    Raises:
        DataError: If it cannot be used.
    """
    where = f"item {index} of {_WORDS[split]}"
    try:
        item = dataset[index]
    # A data set of somebody's fails in its own way.
    except Exception as error:
        raise DataError(f"{where} cannot be read ({type(error).__name__}: {first_line(error)})") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{where} must be (image, label), not {_describe(item)}")
    try:
        label = operator.index(item[1])
    except TypeError:
        raise DataError(
            f"{where} has the label {_describe(item[1])}; labels are integers, from 0 for the first class"
        ) from None
    if label < 0:
        raise DataError(f"{where} has the label {label}; labels are integers, from 0 for the first class")
    try:
        image = to_image(item[0])
        mode = image.mode
        upright = to_upright_opaque(image, 1 if mode in GREY_MODES else 3)
    except (ValueError, OSError) as error:
        raise DataError(f"the image of {where} cannot be used: {first_line(error)}") from None
    content = hashlib.blake2b(f"{upright.mode}/{upright.size}/".encode(), digest_size=16)
    content.update(upright.tobytes())
    return _Item(split, part, index, label, content.hexdigest(), mode, upright.size)


def _describe(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 and not isinstance(value, dict) else f"a {type(value).__name__}"


def _find_class_names(dataset: Any, count: int, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of all classes: those given, those of the data set or of what it is a part of, or numbers.

    Raises:
        DataError: If fewer were given than there are labels.
    """
    if given is not None:
        if len(given) < count or len(set(given)) < len(given):
            raise DataError(
                f"class_names gives {len(set(given))} different names, and the largest label is {count - 1}; give a "
                "name for each class"
            )
        return tuple(map(str, given))
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and len(names) >= count and all(isinstance(n, str) for n in names):
            return tuple(names)
        dataset = getattr(dataset, "dataset", None)  # of a Subset
    return tuple(map(str, range(count)))
