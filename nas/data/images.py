"""Turning a source into tensors: decoded once into memory, or streamed from disk where that is too much."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.augment import Augmentation
from nas.data.sources import Source, cached, digest
from nas.runtime.error_text import first_line
from search_spaces.errors import DataError

SMALL_SIDE = 96
LARGE_DEFAULT = 224
MEMORY_LIMIT = 2 * 2**30
_SAMPLED = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Draw:
    """The random numbers of one batch: a seed for each image, and what `Augmentation.draw` drew, (B, 5)."""

    seeds: tuple[int, ...]
    numbers: Tensor


class Images(Protocol):
    """Images of one size, read by index."""

    def read(
        self,
        batches: Sequence[Tensor],
        draws: Sequence[Draw] | None,
        augment: Augmentation,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each batch of indices ``(B,)``."""
        ...


@dataclass(frozen=True)
class InMemory:
    """All images as bytes ``(N, C, H, H)``, copied to a GPU once."""

    pixels: Tensor
    _copies: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def read(
        self,
        batches: Sequence[Tensor],
        draws: Sequence[Draw] | None,
        augment: Augmentation,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each batch of indices ``(B,)``."""
        pixels = self.pixels
        if device.type != "cpu":
            pixels = self._copies.setdefault(str(device), pixels.to(device))
        for number, batch in enumerate(batches):
            images = pixels[batch.to(pixels.device)].float().div_(255)
            yield images if draws is None else augment.apply(images, draws[number].numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "_copies": {}}


@dataclass(frozen=True)
class Streamed:
    """Images that are decoded by worker processes each time they are read."""

    source: Source
    image_size: int
    channels: int

    def read(
        self,
        batches: Sequence[Tensor],
        draws: Sequence[Draw] | None,
        augment: Augmentation,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each batch of indices ``(B,)``.

        Raises:
            DataError: An image cannot be decoded.
        """
        seeds = [None] * len(batches) if draws is None else [draw.seeds for draw in draws]
        keys = [
            list(zip(batch.tolist(), own or [None] * len(batch), strict=True))
            for batch, own in zip(batches, seeds, strict=True)
        ]
        transform = None if draws is None else _train_transform(self.image_size, augment)
        loader = DataLoader(
            _Decoding(self, transform),
            batch_sampler=keys,
            num_workers=min(8, os.cpu_count() or 1, len(keys)),
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
        )
        for images in loader:
            if isinstance(images, str):
                raise DataError(images)
            yield images.to(device, non_blocking=True).float().div_(255)


@dataclass(frozen=True)
class _Decoding(Dataset[Any]):
    images: Streamed
    transform: Callable[[Image.Image], Tensor] | None

    def __getitem__(self, key: tuple[int, int | None]) -> Tensor | str:
        index, seed = key
        source, channels = self.images.source, self.images.channels
        # An exception would reach the parent as a worker's traceback, so the sentence travels as a value.
        try:
            if self.transform is None or seed is None:
                return _tensor(prepare(_open(source, index), self.images.image_size, channels))
            random.seed(seed)
            np.random.seed(seed % 2**32)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return self.transform(_mode(_open(source, index), channels))
        except DataError as error:
            return str(error)


def probe(source: Source) -> tuple[int, int]:
    """Look at a sample of the images and choose size and channels.

    Returns:
        The side in pixels, which is the common one of small images and 224 otherwise, and the channels:
        1 where all sampled images are greyscale, else 3.

    Raises:
        DataError: A sampled image cannot be opened.
    """
    count = len(source.labels)
    sample = sorted({i * (count - 1) // (_SAMPLED - 1) for i in range(_SAMPLED)})
    sides, modes = set(), set()
    for index in sample:
        with _open(source, index, decode=False) as image:
            sides |= set(image.size)
            modes.add(image.mode)
    side = sides.pop()
    return (LARGE_DEFAULT if sides or side > SMALL_SIDE else side), (1 if modes == {"L"} else 3)


def load_images(
    source: Source, image_size: int, channels: int, cache: Path, progress: Progress | None, memory_limit: int
) -> InMemory | Streamed:
    """Decode all images where they fit into ``memory_limit`` bytes, keeping them in ``cache``; else stream.

    Raises:
        DataError: An image cannot be decoded.
    """
    if len(source.labels) * channels * image_size**2 > memory_limit:
        return Streamed(source, image_size, channels)
    if source.fingerprint is None:
        return InMemory(_decode(source, image_size, channels, progress))
    key = digest([source.fingerprint, image_size, channels])[:16]
    path = cache / "decoded" / f"{key}.safetensors"
    return InMemory(
        cached(path, lambda: {"pixels": _decode(source, image_size, channels, progress)})["pixels"]
    )


def prepare(image: Image.Image, image_size: int, channels: int) -> Image.Image:
    """Resize the shorter side to ``image_size`` (bicubic), crop the centre square, convert to grey or RGB.

    This is what every image goes through outside training; an exported model documents the same steps.
    """
    image = _mode(image, channels)
    width, height = image.size
    if (width, height) != (image_size, image_size):
        # Cropping first gives the same square and resizes fewer pixels.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    return image


def _decode(source: Source, image_size: int, channels: int, progress: Progress | None) -> Tensor:
    count = len(source.labels)
    pixels = torch.empty(count, channels, image_size, image_size, dtype=torch.uint8)

    def decode(index: int) -> None:
        pixels[index] = _tensor(prepare(_open(source, index), image_size, channels))

    # PIL decodes outside the interpreter's lock.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(decode, range(count)), start=1):
                if progress is not None:
                    progress(done, count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pixels


def _open(source: Source, index: int, *, decode: bool = True) -> Image.Image:
    image = None
    try:
        image = source.open(index)
        if decode:
            image.load()
    # PIL reports damage in many ways, a SyntaxError and a struct.error among them.
    except Exception as error:
        if image is not None:
            image.close()
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"{source.where(index)} cannot be decoded ({reason}); remove or replace it"
        ) from error
    if image.mode.startswith(("I", "F")):
        image.close()
        raise DataError(
            f"{source.where(index)} has more than 8 bits per channel (mode {image.mode}); "
            "convert it to 8 bits"
        )
    return image


def _mode(image: Image.Image, channels: int) -> Image.Image:
    if image.mode == "P":
        image = image.convert("RGBA")  # keeps a palette's transparency from being misread
    return image.convert("L" if channels == 1 else "RGB")


def _tensor(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def _collate(items: list[Tensor | str]) -> Tensor | str:
    if failed := [item for item in items if isinstance(item, str)]:
        return failed[0]
    return torch.stack([item for item in items if isinstance(item, Tensor)])


def _train_transform(image_size: int, augment: Augmentation) -> Callable[[Image.Image], Tensor]:
    from timm.data import create_transform  # timm takes seconds to import

    # normalize=False leaves the bytes: they are cheaper to send than floats, and one place normalises.
    transform: Callable[[Image.Image], Tensor] = create_transform(
        image_size,
        is_training=True,
        color_jitter=None,
        auto_augment=augment.rand_augment,
        interpolation="bicubic",
        scale=(0.35, 1.0) if augment.policy == "large" else (0.75, 1.0),
        hflip=0.0 if augment.policy == "digits" else 0.5,
        normalize=False,
    )
    return transform
