"""One split of a data set, read in batches.

Batches depend on (seed, epoch, batch number) alone: a resumed run starts at batch n without decoding the
ones before, and any number of ranks sees the same images, varied in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nas.data.augment import Augmentation, BatchRandomness
from nas.data.batching import batch_sizes
from nas.data.hashing import seeded_generator
from nas.data.images import Images


@dataclass(frozen=True)
class Split:
    """Labelled images of one split of a data set.

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
            augment: Vary the images.
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
        order = torch.arange(len(self))
        if shuffle_seed is not None:
            generator = seeded_generator(shuffle_seed, epoch, "order")
            order = torch.randperm(len(self), generator=generator)
        sizes = batch_sizes(len(self), batch_size, least)
        batches = order[: sum(sizes)].split(sizes)
        numbered = [(n, batch) for n, batch in enumerate(batches) if n >= start and len(batch) > rank]
        shares = [batch[rank::world] for _, batch in numbered]
        randomness = None
        if augment:
            seed = 0 if shuffle_seed is None else shuffle_seed
            randomness = [
                self._sample_randomness(len(batch), seeded_generator(seed, epoch, f"batch {n}"), rank, world)
                for n, batch in numbered
            ]
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        indices = [self.indices[share] for share in shares]
        read = self.images.read(indices, randomness, self.augmentation, device)
        for share, images in zip(shares, read, strict=True):
            yield images.sub_(mean).div_(std).to(dtype), self.labels[share].to(device)

    def _sample_randomness(
        self, count: int, generator: torch.Generator, rank: int, world: int
    ) -> BatchRandomness:
        """Return the random numbers of a rank's share of a batch of ``count`` images."""
        parameters = self.augmentation.sample_parameters(count, generator)
        seeds = torch.randint(2**62, (count,), generator=generator)
        return BatchRandomness(tuple(seeds[rank::world].tolist()), parameters[rank::world])
