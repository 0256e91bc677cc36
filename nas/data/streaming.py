"""Images that do not fit into memory: decoded by worker processes each time they are read."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.augment import Augmentation, BatchRandomness
from nas.data.decoding import UnreadableImageError, read_image, resize_and_crop, to_tensor, unreadable
from nas.data.sources.source import UndecodedImages
from nas.runtime.private_folder import make_room_for_sockets
from search_spaces.errors import DataError


@dataclass(frozen=True)
class StreamedImages:
    """Images that are decoded each time they are read."""

    undecoded: UndecodedImages
    image_size: int
    channels: int

    def read(
        self,
        batches: Sequence[Tensor],
        randomness: Sequence[BatchRandomness] | None,
        augmentation: Augmentation,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each batch of indices ``(B,)``.

        Raises:
            DataError: An image cannot be decoded.
        """
        seeds = [None] * len(batches) if randomness is None else [batch.seeds for batch in randomness]
        keys = [
            list(zip(batch.tolist(), batch_seeds or [None] * len(batch), strict=True))
            for batch, batch_seeds in zip(batches, seeds, strict=True)
        ]
        transform = None if randomness is None else _training_transform(self.image_size, augmentation)
        make_room_for_sockets()
        loader = DataLoader(
            _DecodedImages(self, transform),
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
class _DecodedImages(Dataset[Any]):
    """What the loader's worker processes read: bytes ``(C, H, H)`` by ``(index, seed)``, or an error's message."""

    images: StreamedImages
    transform: Callable[[Image.Image], Tensor] | None

    def __getitem__(self, key: tuple[int, int | None]) -> Tensor | str:
        index, seed = key
        undecoded, channels = self.images.undecoded, self.images.channels
        # An exception would reach the parent as a worker's traceback, so the sentence travels as a value.
        try:
            image = read_image(undecoded, index, channels)
            if self.transform is None or seed is None:
                return to_tensor(resize_and_crop(image, self.images.image_size))
            random.seed(seed)
            np.random.seed(seed % 2**32)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return self.transform(image)
        except UnreadableImageError as error:
            return str(unreadable(undecoded, index, error))


def _collate(items: list[Tensor | str]) -> Tensor | str:
    if errors := [item for item in items if isinstance(item, str)]:
        return errors[0]
    return torch.stack([item for item in items if isinstance(item, Tensor)])


def _training_transform(image_size: int, augmentation: Augmentation) -> Callable[[Image.Image], Tensor]:
    from timm.data import create_transform  # timm takes seconds to import

    # normalize=False leaves the bytes: they are cheaper to send than floats, and one place normalises.
    transform: Callable[[Image.Image], Tensor] = create_transform(
        image_size,
        is_training=True,
        color_jitter=None,
        auto_augment=augmentation.rand_augment,
        interpolation="bicubic",
        scale=(0.35, 1.0) if augmentation.policy == "large" else (0.75, 1.0),
        hflip=0.0 if augmentation.policy == "digits" else 0.5,
        normalize=False,
    )
    return transform
