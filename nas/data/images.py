"""Images of one size, read in batches: decoded once into memory, or streamed from disk where they are too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from nas.data.augment import Augmentation
from nas.data.cache import load_or_compute
from nas.data.decoding import decode_all
from nas.data.hashing import json_digest
from nas.data.requests import BatchRequest
from nas.data.sources.source import Source
from nas.data.streaming import StreamDecoder, StreamedImages
from nas.data.threads import OnProgress

MEMORY_LIMIT = 2 * 2**30  # bytes
# Changes whenever images are decoded into other bytes than before.
_DECODING = 2


class Images(Protocol):
    """Images of one size, read by index."""

    def read(
        self,
        requests: Iterable[BatchRequest],
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each request; they are the receiver's to change.

        Args:
            requests: Which images, with the random numbers of each batch that is varied.
            augmentation: How images are varied by them; None where none are.
            device: Where the images are wanted.
        """
        ...


@dataclass(frozen=True)
class InMemoryImages:
    """All images as bytes ``(N, C, H, H)``, copied to a GPU once."""

    pixels: Tensor
    _copies: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def read(
        self,
        requests: Iterable[BatchRequest],
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """Yield float images ``(B, C, H, H)`` in [0, 1] for each request."""
        pixels = self._pixels_on(device)
        for request in requests:
            images = pixels[request.indices.to(device)].float().div_(255)
            if augmentation is not None and request.randomness is not None:
                images = augmentation.apply(images, request.randomness)
            yield images

    def _pixels_on(self, device: torch.device) -> Tensor:
        if device == self.pixels.device:
            return self.pixels
        if str(device) not in self._copies:
            self._copies[str(device)] = self.pixels.to(device)
        return self._copies[str(device)]

    def __getstate__(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "_copies": {}}


def load_images(
    source: Source,
    image_size: int,
    channels: int,
    cache_dir: Path,
    on_progress: OnProgress | None,
    memory_limit: int,
    test_crop: float = 1.0,
    draft: bool = True,
) -> InMemoryImages | StreamedImages:
    """Decode all images if they fit into ``memory_limit`` bytes, with a copy in ``cache_dir``; else stream them.

    Images with a test crop are streamed: in memory, each is the one square that the network sees.

    Args:
        source: The images.
        image_size: Side that they are brought to, in pixels.
        channels: 1 or 3.
        cache_dir: Where the copy is kept.
        on_progress: Called with ``(done, total)``.
        memory_limit: In bytes.
        test_crop: Share of the shorter side that is shown outside training.
        draft: Whether training decodes large JPEG files at a fraction of their size where that suffices.

    Raises:
        DataError: An image cannot be decoded.
    """
    if test_crop < 1 or len(source.labels) * channels * image_size**2 > memory_limit:
        return StreamedImages(StreamDecoder(source.images, image_size, channels, test_crop, draft))
    if source.fingerprint is None:
        return InMemoryImages(decode_all(source, image_size, channels, on_progress))
    key = json_digest([_DECODING, source.fingerprint, image_size, channels])[:16]
    path = cache_dir / "decoded" / f"{key}.safetensors"
    tensors = load_or_compute(path, lambda: {"pixels": decode_all(source, image_size, channels, on_progress)})
    return InMemoryImages(tensors["pixels"])
