"""How many images the batches of an epoch have, so that no shard of one is too small to train on.

BatchNorm cannot be trained on one image whose maps have shrunk to a single position, so every shard of every
batch has two images at least. What is left over for a last batch smaller than that is left out of the epoch;
the order of the images changes from epoch to epoch, and with it which ones these are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.hashing import seeded_generator

#: Fewest images of a shard in training.
SHARD_IMAGES = 2


def usable_shards(images: int, shards: int) -> int:
    """Return how many of ``shards`` a set of ``images`` can fill with two images each; one at least."""
    return max(1, min(shards, images // SHARD_IMAGES))


def batch_sizes(images: int, batch_size: int, least: int = 1) -> list[int]:
    """Return the sizes of an epoch's batches.

    Args:
        images: Images of the epoch.
        batch_size: Images of a full batch.
        least: Fewest images of the last batch; fewer are left out.
    """
    full, rest = divmod(images, batch_size)
    return [batch_size] * full + ([rest] if rest >= max(1, least) else [])


def epoch_order(images: int, seed: int, epoch: int, repeats: int = 1) -> Tensor:
    """Return the images of an epoch in their order, shape ``(images,)``.

    With repeated augmentation (arXiv 1901.09335) each image comes ``repeats`` times in a row and an epoch has as many
    steps as without: it shows a share of the images, and that many epochs show all of them. The copies at the end of
    a batch go on in the next one if its size is no multiple of their number.

    Args:
        images: Images of the split.
        seed: Decides the order together with the epoch.
        epoch: Number of the epoch.
        repeats: Copies of each image.
    """
    generator = seeded_generator(seed, epoch // repeats, "order")
    order = torch.randperm(images, generator=generator)
    if repeats == 1:
        return order
    shown = -(-images // repeats)
    turn = (torch.arange(shown) + epoch % repeats * shown) % images
    return order[turn].repeat_interleave(repeats)[:images]
