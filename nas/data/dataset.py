"""A data set, found, split and ready to be read.

`load_data` turns a ``--data`` spec into a `Data`: training and validation splits in the open, the test
split behind `Data.final_test`, which the final report alone calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nas.data.augment import Augmentation
from nas.data.decoding import LARGE_SIDE, OnProgress, find_size_and_channels
from nas.data.hashing import json_digest
from nas.data.images import MEMORY_LIMIT, load_images
from nas.data.normalization import channel_statistics
from nas.data.partition import SPLIT_SEED, split_indices
from nas.data.sources.find import find_source
from nas.data.sources.source import Source
from nas.data.splits import Split
from search_spaces.errors import DataError


@dataclass(frozen=True)
class Data:
    """A data set, split.

    Attributes:
        name: Short name.
        image_size: Side of the square images, in pixels.
        in_channels: 1 or 3.
        class_names: In the order of the labels.
        mean: Per channel, of values in [0, 1].
        std: Per channel.
        train: What networks learn from.
        val: What candidates are compared on.
        augmentation: How training images are varied.
        digest: SHA-256 of spec, labels and splits, in hexadecimal.
    """

    name: str
    image_size: int
    in_channels: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    val: Split
    augmentation: Augmentation
    digest: str
    _test: Split = field(repr=False)
    _former: tuple[object, ...] = field(default=(), repr=False)

    def first_digest(self, spec: str) -> str:
        """Return the digest that earlier versions gave these images where they were called ``spec``."""
        return json_digest([spec, *self._former])

    def final_test(self) -> Split:
        """Return the test split, which nothing but the final report of a finished network may touch."""
        return self._test


def load_data(
    spec: str,
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    seed: int = SPLIT_SEED,
    cache_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Find, split and, where they fit, decode images.

    Args:
        spec: ``mnist5k``, ``folder:PATH``, or a name that timm's ``create_dataset`` knows.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; None takes the images' own where they are small and alike, else 224.
        seed: Of the split, not of a search.
        cache_dir: For decoded copies; None means ``$NAS_CACHE_DIR``, else ``~/.cache/nas``.
        on_progress: Called with ``(done, total)`` while images are decoded.
        memory_limit: Bytes of decoded images above which they are streamed from disk instead.

    Raises:
        DataError: The images cannot be found, read or split.
    """
    if image_size is not None and image_size < 8:
        raise DataError(
            f"images of {image_size} pixels are too small; give a side of at least 8, for example 32"
        )
    cache_dir = Path(cache_dir or os.environ.get("NAS_CACHE_DIR") or Path.home() / ".cache" / "nas")
    source = find_source(spec, data_dir, cache_dir)
    indices = split_indices(source, seed)
    own_size, channels = find_size_and_channels(source)
    image_size = own_size if image_size is None else image_size
    images = load_images(source, image_size, channels, cache_dir, on_progress, memory_limit)
    large = image_size >= LARGE_SIDE
    augmentation = Augmentation("large" if large else "digits" if channels == 1 else "small")
    mean, std = channel_statistics(images, indices["train"], channels, large)
    labels = torch.tensor(source.labels)
    splits = {
        split: Split(
            images, members := torch.tensor(indices[split]), labels[members], mean, std, augmentation
        )
        for split in indices
    }
    return Data(
        name=source.name,
        image_size=image_size,
        in_channels=channels,
        class_names=source.class_names,
        mean=mean,
        std=std,
        train=splits["train"],
        val=splits["val"],
        augmentation=augmentation,
        digest=_content_digest(source, indices),
        _test=splits["test"],
        _former=(source.labels, source.class_names, indices),
    )


def _content_digest(source: Source, indices: Mapping[Any, list[int]]) -> str:
    def content(index: int) -> str:
        name = source.images.describe(index)
        path = Path(name)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else name

    contents = [content(index) for index in range(len(source.labels))]
    members = {
        split: sorted((source.class_names[source.labels[i]], contents[i]) for i in chosen)
        for split, chosen in indices.items()
    }
    return json_digest([source.class_names, members])
