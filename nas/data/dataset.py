"""A data set, found, split and ready to be read.

`load_data` turns a ``--data`` spec into a `Data`: training and validation splits in the open, the test
split behind `Data.final_test`, which the final report alone calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from nas.data.augment import Augmentation
from nas.data.decoding import LARGE_SIDE, find_side_and_channels, usual_side
from nas.data.hashing import json_digest
from nas.data.images import MEMORY_LIMIT, load_images
from nas.data.normalization import channel_statistics
from nas.data.partition import SPLIT_SEED, split_indices
from nas.data.reading import DRAFT_READING, FIRST_READING, READING, Reading
from nas.data.sources.find import find_source
from nas.data.sources.folder import ReadOptions
from nas.data.sources.source import Source, SplitName
from nas.data.splits import Split
from nas.data.summary import DataSummary, summarize
from nas.data.threads import OnProgress
from search_spaces.errors import DataError

#: Given the side that images share (None where they do not) and the usual side that they are brought to, returns the
#: side to bring them to; all in pixels.
ChooseSide = Callable[[int | None, int], int]


@dataclass(frozen=True)
class DataOrigin:
    """What a data set was loaded by, from which it can be loaded in another size.

    Attributes:
        spec: As of `load_data`, like the others.
        data_dir: Where timm's data sets lie.
        image_size: Side that was asked for, in pixels; None where none was.
        skip_broken: Whether files that cannot be read were left out.
        test_crop: Share of the shorter side that is shown outside training.
        source: Images that were given as such.
    """

    spec: str
    data_dir: Path | None = None
    image_size: int | None = None
    skip_broken: bool = False
    test_crop: float = 1.0
    source: Source | None = None


@dataclass(frozen=True, repr=False)
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
        digest: SHA-256 of the names of the classes, the contents of the images and the splits, in hexadecimal. Where
            images lie, what their files are called and how they were named on the command line change nothing.
        summary: What was read, for people.
        reading: By which rules (`nas.data.reading`).
        test_crop: Share of the shorter side that is shown outside training.
        train_order: SHA-256 of the training images' contents in their order, which names of files may have decided.
        origin: What it was loaded by; copies that are sent to workers do without.
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
    summary: DataSummary = field(repr=False)
    reading: Reading
    _test: Split = field(repr=False)
    test_crop: float = 1.0
    train_order: str = ""
    origin: DataOrigin | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "origin": None}

    def __repr__(self) -> str:
        return (
            f"<Data {self.name}: {len(self.train)} images to train, {len(self.val)} to validate, {len(self._test)} to "
            f"test, {len(self.class_names)} classes, {self.in_channels}x{self.image_size}x{self.image_size}>"
        )

    def final_test(self) -> Split:
        """Return the test split, which nothing but the final report of a finished network may touch."""
        return self._test

    def first_digest(self, spec: str) -> str:
        """Return the digest that version 0.1 gave images loaded as ``spec``: of spec, labels and splits.

        It is that of a study of that version if the images were read by the same rules (``FIRST_READING``).
        """
        splits = {"train": self.train, "val": self.val, "test": self._test}
        indices = {name: split.indices.tolist() for name, split in splits.items()}
        labels = torch.empty(sum(map(len, splits.values())), dtype=torch.int64)
        for split in splits.values():
            labels[split.indices] = split.labels
        return json_digest([spec, labels.tolist(), self.class_names, indices])


@dataclass(frozen=True)
class Survey:
    """A data set that was found and split, and of which nothing was decoded to be used.

    Attributes:
        source: The images.
        indices: Which of them belong to which split.
        image_size: Side that they are brought to, in pixels.
        in_channels: 1 or 3.
        digest: As `Data.digest`.
        summary: What was read, for people.
    """

    source: Source
    indices: dict[SplitName, list[int]]
    image_size: int
    in_channels: int
    digest: str
    summary: DataSummary


def survey_data(
    spec: str,
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    choose_side: ChooseSide | None = None,
    seed: int = SPLIT_SEED,
    cache_dir: Path | None = None,
    options: ReadOptions | None = None,
    source: Source | None = None,
) -> Survey:
    """Find images and split them; decode none to use it.

    Args:
        spec: As of `load_data`, like the others.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels, or None.
        choose_side: What chooses another side where ``image_size`` is None.
        seed: Of the split.
        cache_dir: For what was found of each file.
        options: How a folder is read.
        source: Images that were given as such.

    Raises:
        DataError: The images cannot be found, read or split.
    """
    if image_size is not None and image_size < 8:
        raise DataError(
            f"images of {image_size} pixels are too small; give a side of at least 8, for example 32"
        )
    options = options or ReadOptions()
    if source is None:
        source = find_source(spec, data_dir, find_cache_dir(cache_dir), options)
    indices = split_indices(source, seed)
    own_side, channels = find_side_and_channels(source)
    if image_size is None:
        usual = usual_side(own_side)
        image_size = usual if choose_side is None else choose_side(own_side, usual)
    digest = _compute_digest(source, indices, spec, options.reading)
    summary = summarize(source, indices, image_size, channels, digest, own_side)
    return Survey(source, indices, image_size, channels, digest, summary)


def find_cache_dir(cache_dir: Path | None = None) -> Path:
    """Return the folder for copies that save time: the one given, ``$NAS_CACHE_DIR``, or ``~/.cache/nas``."""
    return Path(cache_dir or os.environ.get("NAS_CACHE_DIR") or Path.home() / ".cache" / "nas")


def _compute_digest(source: Source, indices: dict[SplitName, list[int]], spec: str, reading: Reading) -> str:
    if reading == FIRST_READING:
        return json_digest([spec, source.labels, source.class_names, indices])
    if source.contents is None:
        name = source.name if source.fingerprint is None else source.fingerprint
        return json_digest([name, source.labels, source.class_names, indices])
    contents = {
        split: sorted((source.class_names[source.labels[i]], source.contents[i]) for i in members)
        for split, members in indices.items()
    }
    return json_digest([source.class_names, contents])


def load_data(
    spec: str,
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    choose_side: ChooseSide | None = None,
    seed: int = SPLIT_SEED,
    cache_dir: Path | None = None,
    skip_broken: bool = False,
    reading: Reading = READING,
    test_crop: float = 1.0,
    large_test_crop: float | None = None,
    on_inspect: OnProgress | None = None,
    on_progress: OnProgress | None = None,
    memory_limit: int = MEMORY_LIMIT,
    source: Source | None = None,
) -> Data:
    """Find, split and, where they fit, decode images.

    Args:
        spec: ``mnist5k``, ``folder:PATH``, a URL, or a name that timm's ``create_dataset`` knows.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; None takes the images' own where they are small and alike, else 224.
        choose_side: What chooses another side where ``image_size`` is None.
        seed: Of the split, not of a search.
        cache_dir: For decoded copies; None means ``$NAS_CACHE_DIR``, else ``~/.cache/nas``.
        skip_broken: Go on without files that cannot be read, all of which are decoded once to find them.
        reading: By which rules images are read and split; studies keep the ones they began with.
        test_crop: Share of the shorter side that is shown outside training; below 1 images are streamed from disk.
        large_test_crop: What ``test_crop`` is instead where images are large; None for no other.
        on_inspect: Called with ``(done, total)`` while files are looked at.
        on_progress: Called with ``(done, total)`` while images are decoded.
        memory_limit: Bytes of decoded images above which they are streamed from disk instead.
        source: Images that were given as such, which ``spec`` is only a name of.

    Raises:
        DataError: The images cannot be found, read or split.
    """
    cache_dir = find_cache_dir(cache_dir)
    origin = DataOrigin(spec, data_dir, image_size, skip_broken, test_crop, source)
    options = ReadOptions(skip_broken, skip_broken, reading, on_inspect)
    survey = survey_data(
        spec,
        data_dir=data_dir,
        image_size=image_size,
        choose_side=choose_side,
        seed=seed,
        cache_dir=cache_dir,
        options=options,
        source=source,
    )
    source, channels = survey.source, survey.in_channels
    large = survey.image_size >= LARGE_SIDE
    if large and large_test_crop is not None:
        test_crop = large_test_crop
    if test_crop < 1 and not large:
        raise DataError(
            f"--test-crop {test_crop:g} is for photographs that are brought to {LARGE_SIDE} pixels or more, not to "
            f"{survey.image_size}; leave it out, or give a larger --image-size"
        )
    images = load_images(
        source,
        survey.image_size,
        channels,
        cache_dir,
        on_progress,
        memory_limit,
        test_crop,
        draft=reading >= DRAFT_READING,
    )
    augmentation = Augmentation("large" if large else "digits" if channels == 1 else "small")
    mean, std = channel_statistics(images, survey.indices["train"], channels, large)
    labels = torch.tensor(source.labels)
    splits = {
        split: Split(images, indices := torch.tensor(members), labels[indices], mean, std, augmentation)
        for split, members in survey.indices.items()
    }
    return Data(
        name=source.name,
        image_size=survey.image_size,
        in_channels=channels,
        class_names=source.class_names,
        mean=mean,
        std=std,
        train=splits["train"],
        val=splits["val"],
        augmentation=augmentation,
        digest=survey.digest,
        summary=_with_test_crop(survey.summary, test_crop),
        reading=reading,
        _test=splits["test"],
        test_crop=test_crop,
        train_order=_digest_order(source, survey.indices["train"]),
        origin=origin,
    )


def _digest_order(source: Source, members: list[int]) -> str:
    """Return the digest of images in their order; the name of a set stands for contents that cannot be known."""
    return json_digest([source.fingerprint or source.name, members])


def _with_test_crop(summary: DataSummary, test_crop: float) -> DataSummary:
    if test_crop == 1:
        return summary
    note = f"outside training, networks see the centre square of {test_crop:.0%} of the shorter side"
    return replace(summary, notes=(*summary.notes, note))
