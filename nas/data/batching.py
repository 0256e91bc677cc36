"""How many images the batches of an epoch have, so that no shard of one is too small to train on.

BatchNorm cannot be trained on one image whose maps have shrunk to a single position, so every shard of every
batch has two images at least. What is left over for a last batch smaller than that is left out of the epoch;
the order of the images changes from epoch to epoch, and with it which ones these are.
"""

from __future__ import annotations

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
