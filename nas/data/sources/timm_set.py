"""Data sets by the names that timm's ``create_dataset`` knows: torchvision's and those of the Hugging Face hub."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nas.data.hashing import json_digest
from nas.data.sources.source import Source, repeat_split
from nas.runtime.error_text import first_line
from search_spaces.errors import DataError, nearest

# The sets of torchvision that it downloads where they are absent, by their plain names.
_SMALL_TORCH_SETS = {
    name: f"torch/{name}" for name in ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist")
}
_OTHER_TORCH_SETS = ("imagenet", "inaturalist", "inat", "places365", "qmnist")
_STREAMS = ("hfids", "tfds", "wds")


@dataclass(frozen=True)
class _ConcatenatedSets:
    """Images of several timm data sets laid end to end."""

    name: str
    sets: tuple[Any, ...]

    def open(self, index: int) -> Image.Image:
        offset = index
        for dataset in self.sets:
            if offset < len(dataset):
                image = dataset[offset][0]
                assert isinstance(image, Image.Image)
                return image
            offset -= len(dataset)
        raise IndexError(index)

    def describe(self, index: int) -> str:
        return f"image {index} of {self.name}"


def is_timm_name(spec: str) -> bool:
    """Return whether a spec looks like a name that timm knows, be it of a set that can only be streamed."""
    prefix, _, rest = spec.partition("/")
    if prefix.lower() == "torch":
        return rest.lower() in (*_SMALL_TORCH_SETS, *_OTHER_TORCH_SETS)
    return bool(rest) and prefix.lower() in ("hfds", *_STREAMS)


def read_timm_set(spec: str, data_dir: Path | None, cache_dir: Path) -> Source:
    """Open a data set by timm's name; torchvision fetches its five small sets where they are absent.

    Raises:
        DataError: The name is unknown, or the set can only be streamed, is absent or cannot be read.
    """
    prefix, _, rest = spec.partition("/")
    prefix = prefix.lower()
    if prefix in _STREAMS and rest:
        raise DataError(
            f"--data {spec} can only be read in order, which no split can use; type --data hfds/{rest}"
        )
    torch_name = rest.lower()
    if not is_timm_name(spec):
        known = ("mnist5k", "folder:PATH", "hfds/NAME", "torch/imagenet", *_SMALL_TORCH_SETS.values())
        raise DataError(f"unknown --data {spec!r}; {nearest(spec, known)}")
    from timm.data import create_dataset  # timm takes seconds to import, and few need it here

    # Anything but the small sets is for the user to download.
    small = prefix == "torch" and torch_name in _SMALL_TORCH_SETS
    root = data_dir if data_dir is not None else cache_dir / "datasets"
    sets = []
    try:
        for split in ("train", "validation"):
            sets.append(create_dataset(spec, root=str(root), split=split, download=True if small else None))
        labels = tuple(int(label) for dataset in sets for label in _labels(dataset))
    # Each data set of torchvision and datasets fails in its own way: no package, no network, no file.
    except Exception as error:
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"--data {spec} cannot be read from {root} ({type(error).__name__}: {reason}); "
            "check --data-dir, or type --data folder:PATH"
        ) from error
    return Source(
        name=spec,
        labels=labels,
        class_names=_class_names(sets[0], max(labels, default=0) + 1),
        # What such sets call validation is what papers report on: it is our test split.
        declared_splits=repeat_split("train", len(sets[0])) + repeat_split("test", len(sets[1])),
        images=_ConcatenatedSets(spec, tuple(sets)),
        fingerprint=_fingerprint(spec, sets, labels),
    )


def _labels(dataset: Any) -> Sequence[int]:
    """List the labels of a timm or torchvision data set without decoding its images."""
    if (targets := getattr(dataset, "targets", None)) is not None:
        return targets if isinstance(targets, list) else list(targets.tolist())
    if hasattr(dataset, "reader"):
        return list(dataset.reader.dataset[dataset.reader.label_key])
    samples = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
    if samples is None:
        raise TypeError("it does not list its labels")
    return [label for _, label in samples]


def _class_names(dataset: Any, count: int) -> tuple[str, ...]:
    """Return the names of at least ``count`` classes; their numbers where the set does not name them."""
    names = getattr(dataset, "classes", None)
    if names is None and hasattr(dataset, "reader"):
        names = getattr(dataset.reader.dataset.features[dataset.reader.label_key], "names", None)
    names = [name if isinstance(name, str) else name[0] for name in names or ()]
    return tuple(names) if len(names) >= count else tuple(str(i) for i in range(count))


def _fingerprint(spec: str, sets: Sequence[Any], labels: tuple[int, ...]) -> str | None:
    """Return a digest of sets that are held in memory; None for others, which would have to be read first."""
    pixels = [getattr(dataset, "data", None) for dataset in sets]
    if not all(isinstance(array, np.ndarray | torch.Tensor) for array in pixels):
        return None
    checksums = [zlib.crc32(np.ascontiguousarray(np.asarray(array)).data) for array in pixels]
    return json_digest([spec.lower(), checksums, labels])
