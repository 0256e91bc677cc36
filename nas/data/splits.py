"""Data sets with splits that no search, seed or machine changes.

`load_data` turns a ``--data`` spec into a `Data`: training and validation splits in the open, the test
split behind `Data.final_test`, which the final report alone calls.

Design decisions:
    - A split is decided by hashing (seed, class, position), not by a library's generator, so that it
      survives upgrades. The default seed is a constant that has nothing to do with a search's seed.
    - Batches depend on (seed, epoch, batch number) alone: a resumed run starts at batch n without decoding
      the ones before, and any number of ranks sees the same images, varied in the same way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nas.data.augment import Augmentation
from nas.data.images import (
    MEMORY_LIMIT,
    SMALL_SIDE,
    Draw,
    Images,
    InMemory,
    Progress,
    Streamed,
    load_images,
    probe,
)
from nas.data.sources import Part, Source, digest, find_source
from search_spaces.errors import DataError

SPLIT_SEED = 0
# Shares of a class that are held out where the set does not say: 70% remain for training.
_VAL_SHARE, _TEST_SHARE = 0.1, 0.2
_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Split:
    """Labelled images of one part of a data set.

    Attributes:
        images: All images of the set.
        indices: Which of them belong here, shape ``(N,)``.
        labels: Their classes, shape ``(N,)``.
        mean: Per channel, of values in [0, 1]; what normalisation subtracts.
        std: Per channel; what normalisation divides by.
        augmentation: How the images are varied where `batches` is asked to.
    """

    images: Images = field(repr=False)
    indices: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        drop_last: bool = False,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over one epoch.

        Args:
            batch_size: Images per global batch, of all ranks together.
            device: Where the tensors are wanted.
            dtype: Of the images.
            shuffle_seed: Decides order and variation together with ``epoch``; None keeps the stored order.
            epoch: Number of the epoch.
            augment: Vary the images.
            drop_last: Leave out a last batch that is not full.
            start: Number of the first batch, to resume in the middle of an epoch; those before are not read.
            rank: Which share of every batch to yield.
            world: Number of shares; a last batch with fewer images yields nothing to the ranks left over.

        Yields:
            Normalised images ``(B, C, H, H)`` and classes ``(B,)``.

        Raises:
            DataError: An image that is streamed from disk cannot be decoded.
        """
        device = torch.device(device)
        order = torch.arange(len(self))
        if shuffle_seed is not None:
            order = torch.randperm(len(self), generator=_generator(shuffle_seed, epoch, "order"))
        whole = [part for part in order.split(batch_size) if len(part) == batch_size or not drop_last]
        numbered = [(n, part) for n, part in enumerate(whole) if n >= start and len(part) > rank]
        shares = [part[rank::world] for _, part in numbered]
        draws = None
        if augment:
            seed = 0 if shuffle_seed is None else shuffle_seed
            draws = [self._draw(len(part), rank, world, seed, epoch, n) for n, part in numbered]
        mean, std = (torch.tensor(of, device=device).view(-1, 1, 1) for of in (self.mean, self.std))
        indices = [self.indices[share] for share in shares]
        read = self.images.read(indices, draws, self.augmentation, device)
        for share, images in zip(shares, read, strict=True):
            yield images.sub_(mean).div_(std).to(dtype), self.labels[share].to(device)

    def _draw(self, count: int, rank: int, world: int, seed: int, epoch: int, number: int) -> Draw:
        generator = _generator(seed, epoch, f"batch {number}")
        numbers = self.augmentation.draw(count, generator)
        seeds = torch.randint(2**62, (count,), generator=generator)
        return Draw(tuple(seeds[rank::world].tolist()), numbers[rank::world])


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
        augment: How training images are varied.
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
    augment: Augmentation
    digest: str
    _test: Split = field(repr=False)

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
    progress: Progress | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Find, split and, where they fit, decode images.

    Args:
        spec: ``mnist5k``, ``folder:PATH``, or a name that timm's ``create_dataset`` knows.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; None takes the images' own where they are small and alike, else 224.
        seed: Of the split, not of a search.
        cache_dir: For decoded copies; None means ``$NAS_CACHE_DIR``, else ``~/.cache/nas``.
        progress: Called as ``progress(done, total)`` while images are decoded.
        memory_limit: Bytes of decoded images above which they are streamed from disk instead.

    Raises:
        DataError: The images cannot be found, read or split.
    """
    if image_size is not None and image_size < 8:
        raise DataError(
            f"images of {image_size} pixels are too small; give a side of at least 8, for example 32"
        )
    cache = Path(cache_dir or os.environ.get("NAS_CACHE_DIR") or Path.home() / ".cache" / "nas")
    source = find_source(spec, data_dir, cache)
    splits = _split(source, seed)
    side, channels = probe(source)
    image_size = side if image_size is None else image_size
    images = load_images(source, image_size, channels, cache, progress, memory_limit)
    large = image_size >= SMALL_SIDE
    augment = Augmentation("large" if large else "digits" if channels == 1 else "small")
    mean, std = _statistics(images, splits["train"], channels, large)
    labels = torch.tensor(source.labels)
    parts = {
        part: Split(images, at := torch.tensor(splits[part]), labels[at], mean, std, augment)
        for part in splits
    }
    return Data(
        name=source.name,
        image_size=image_size,
        in_channels=channels,
        class_names=source.class_names,
        mean=mean,
        std=std,
        train=parts["train"],
        val=parts["val"],
        augment=augment,
        digest=digest([spec, source.labels, source.class_names, splits]),
        _test=parts["test"],
    )


def _split(source: Source, seed: int) -> dict[Part, list[int]]:
    """Assign every image to a part: as declared, the missing parts carved out of each class by shares."""
    if len(source.class_names) < 2:
        raise DataError(
            f"{source.name} has a single class, '{source.class_names[0]}'; there must be two or more"
        )
    declared = set(source.parts)
    shares: dict[Part, float] = {"val": _VAL_SHARE, "test": _TEST_SHARE}
    missing = {part: share for part, share in shares.items() if part not in declared}
    splits: dict[Part, list[int]] = {"train": [], "val": [], "test": []}
    classes: list[list[int]] = [[] for _ in source.class_names]
    for index, (part, label) in enumerate(zip(source.parts, source.labels, strict=True)):
        if part in ("val", "test"):
            splits[part].append(index)
        else:
            classes[label].append(index)
    for name, members in zip(source.class_names, classes, strict=True):
        if len(members) <= len(missing):
            raise DataError(
                f"class '{name}' of {source.name} has too few images to split: {len(members)} where at least "
                f"{len(missing) + 1} must be there to train on"
            )
        shuffled = sorted(range(len(members)), key=lambda i: _hash(f"{seed}/{name}/{i}"))
        taken = 0
        for part, share in missing.items():
            count = max(1, round(share * len(members)))
            splits[part] += [members[i] for i in shuffled[taken : taken + count]]
            taken += count
        splits["train"] += [members[i] for i in shuffled[taken:]]
    return {part: sorted(indices) for part, indices in splits.items()}


def _statistics(
    images: InMemory | Streamed, train: list[int], channels: int, large: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel: of the training images, or ImageNet's for large ones."""
    if large or not isinstance(images, InMemory):
        # What published weights for large images expect, and good enough for any photograph.
        if channels == 3:
            return _RGB_MEAN, _RGB_STD
        return (round(sum(_RGB_MEAN) / 3, 4),), (round(sum(_RGB_STD) / 3, 4),)
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for part in torch.tensor(train).split(4096):
        pixels = images.pixels[part]
        counts += torch.stack(
            [torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(channels)]
        )
    weights = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (weights * values).sum(1)
    std = ((weights * (values - mean[:, None]) ** 2).sum(1)).sqrt()
    # Rounded, so that files which state them are readable; images without any contrast are left as they are.
    return (
        tuple(round(m, 4) for m in mean.tolist()),
        tuple(round(s, 4) if s > 1e-3 else 1.0 for s in std.tolist()),
    )


def _generator(seed: int, epoch: int, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(_hash(f"{seed}/{epoch}/{use}")[:7], "big"))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
