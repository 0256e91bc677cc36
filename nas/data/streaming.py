"""Images that do not fit into memory: decoded by worker processes each time they are read."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import tee
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.augment import Augmentation
from nas.data.decoding import UnreadableImageError, read_image, read_part, resize_and_crop, unreadable
from nas.data.loader import TASK_IMAGES, DecodingTask, LoaderPool
from nas.data.requests import BatchRequest
from nas.data.sources.source import UndecodedImages
from nas.data.training_transform import TrainingTransform


@dataclass(frozen=True)
class StreamDecoder:
    """What a worker process does: from indices and seeds to bytes.

    Attributes:
        undecoded: The images.
        image_size: Side that they are brought to, in pixels.
        channels: 1 or 3.
        test_crop: Share of the shorter side that is shown outside training.
        draft: Whether large JPEG files are decoded at a fraction of their size in training, where that suffices.
    """

    undecoded: UndecodedImages
    image_size: int
    channels: int
    test_crop: float = 1.0
    draft: bool = True

    def __call__(self, task: DecodingTask) -> Tensor | str:
        """Return the bytes ``(B, C, H, H)`` of a task, or why an image cannot be decoded."""
        side = self.image_size
        pixels = torch.empty(len(task.indices), side, side, self.channels, dtype=torch.uint8)
        seeds = task.seeds or (None,) * len(task.indices)
        for place, (index, seed) in enumerate(zip(task.indices.tolist(), seeds, strict=True)):
            try:
                image = self._decode(index, seed, task.augmentation)
            except UnreadableImageError as error:
                return str(unreadable(self.undecoded, index, error))
            pixels[place] = torch.from_numpy(np.array(image)).view(side, side, self.channels)
        return pixels.permute(0, 3, 1, 2)

    def _decode(self, index: int, seed: int | None, augmentation: Augmentation | None) -> Image.Image:
        if seed is None or augmentation is None:
            image = read_image(self.undecoded, index, self.channels)
            return resize_and_crop(image, self.image_size, self.test_crop)
        transform = _create_transform(augmentation)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            least = self.image_size if self.draft else None
            image = read_part(self.undecoded, index, self.channels, transform.choose_box, least)
            return transform.finish(image, self.image_size)


@lru_cache(maxsize=8)
def _create_transform(augmentation: Augmentation) -> TrainingTransform:
    return TrainingTransform(augmentation)


@dataclass(frozen=True)
class StreamedImages:
    """Images that are decoded each time they are read."""

    decoder: StreamDecoder
    _loaders: LoaderPool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_loaders", LoaderPool(self.decoder))

    def read(
        self,
        requests: Iterable[BatchRequest],
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each request.

        Raises:
            DataError: An image cannot be decoded.
            WorkError: A process that decodes was killed.
        """
        asked, awaited = tee(requests)
        tasks = (task for request in asked for task in _divide(request, augmentation))
        decoded = self._loaders.read(tasks, pin_memory=device.type == "cuda")
        side, channels = self.decoder.image_size, self.decoder.channels
        for request in awaited:
            count, done = len(request.indices), 0
            # A pixel's channels lie together, as decoders leave them.
            pixels = torch.empty(count, side, side, channels, dtype=torch.uint8, device=device)
            images = pixels.permute(0, 3, 1, 2)
            while done < count:
                part = next(decoded)
                images[done : done + len(part)].copy_(part, non_blocking=True)
                done += len(part)
            yield images.contiguous().float().div_(255)


def _divide(request: BatchRequest, augmentation: Augmentation | None) -> Iterator[DecodingTask]:
    """Yield a batch in parts that processes decode side by side."""
    indices: np.ndarray[Any, np.dtype[np.int64]] = request.indices.numpy()
    seeds = None if request.randomness is None else request.randomness.seeds
    for first in range(0, len(indices), TASK_IMAGES):
        part = slice(first, first + TASK_IMAGES)
        yield DecodingTask(indices[part], None if seeds is None else seeds[part], augmentation)
