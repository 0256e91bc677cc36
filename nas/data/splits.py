"""One split of a data set, read in batches.

Batches depend on (seed, epoch, batch number) alone: a resumed run starts at batch n without decoding the
ones before, and any number of ranks sees the same images, varied in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import tee

import torch
from torch import Tensor

from nas.data.augment import Augmentation, BatchRandomness
from nas.data.batching import batch_sizes, epoch_order
from nas.data.hashing import seeded_generator
from nas.data.images import Images
from nas.data.requests import BatchRequest


@dataclass(frozen=True)
class Split:
    """Labelled images of one split of a data set.

    Attributes:
        images: All images of the set.
        indices: Which of them belong here, shape ``(N,)``.
        labels: Their classes, shape ``(N,)``.
        mean: Per channel, of values in [0, 1]; what normalisation subtracts.
        std: Per channel; what normalisation divides by.
        augmentation: How the images are varied where `batches` is asked for the set's own way.
    """

    images: Images = field(repr=False)
    indices: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def numbered(self) -> Split:
        """Return these images with their numbers, from 0 in the stored order, in place of their classes."""
        return replace(self, labels=torch.arange(len(self)))

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        augment: Augmentation | bool = False,
        least: int = 1,
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
            augment: How to vary the images; True for the set's own way.
            least: Fewest images of the last batch; fewer are left out.
            start: Number of the first batch, to resume in the middle of an epoch; those before are not read.
            rank: Which share of every batch to yield.
            world: Number of shares; a last batch with fewer images yields nothing to the ranks left over.

        Yields:
            Normalised images ``(B, C, H, H)`` and classes ``(B,)``.

        Raises:
            DataError: An image that is streamed from disk cannot be decoded.
        """
        device = torch.device(device)
        augmentation = None
        if augment:
            own = self.augmentation if augment is True else augment
            augmentation = replace(own, fill=self.mean)
        order = torch.arange(len(self))
        if shuffle_seed is not None:
            order = epoch_order(
                len(self), shuffle_seed, epoch, 1 if augmentation is None else augmentation.repeats
            )
        sizes = batch_sizes(len(self), batch_size, least)
        batches = order[: sum(sizes)].split(sizes)

        def requests() -> Iterator[tuple[Tensor, BatchRequest]]:
            seed = 0 if shuffle_seed is None else shuffle_seed
            for number, batch in enumerate(batches):
                if number < start or len(batch) <= rank:
                    continue
                share, randomness = batch[rank::world], None
                if augmentation is not None:
                    generator = seeded_generator(seed, epoch, f"batch {number}")
                    randomness = _sample_randomness(augmentation, len(batch), generator, rank, world)
                yield share, BatchRequest(self.indices[share], randomness)

        # Images are read ahead: what is asked for is ahead of what is yielded.
        asked, awaited = tee(requests())
        read = self.images.read((request for _, request in asked), augmentation, device)
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        for (share, request), images in zip(awaited, read, strict=True):
            images = images.sub_(mean).div_(std)
            if augmentation is not None and request.randomness is not None:
                images = augmentation.erase(images, request.randomness.seeds)
            yield images.to(dtype), self.labels[share].to(device, non_blocking=True)


def _sample_randomness(
    augmentation: Augmentation, count: int, generator: torch.Generator, rank: int, world: int
) -> BatchRandomness:
    """Return the random numbers of a rank's share of a batch of ``count`` images."""
    parameters = augmentation.sample_parameters(count, generator)
    seeds = torch.randint(2**62, (count,), generator=generator)
    return BatchRandomness(tuple(seeds[rank::world].tolist()), parameters[rank::world])
