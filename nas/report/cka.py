"""Linear CKA: how much the output of every block of a network is like that of its last block.

The measure is linear CKA (Kornblith et al., arXiv 1905.00414, section 3) over validation images, as the
Refiner paper (arXiv 2106.03714, section 3.1) plots it. HSIC is estimated without bias in minibatches and
averaged before the division (Nguyen et al., arXiv 2010.15327, section 3), so that the result does not depend
on their size.

Maps of different sizes are compared flattened, a vector of H x W x C values an image: CKA sees features
through the inner products of pairs of images alone, so that numbers of positions and channels need not
agree. Pooling over positions would discard what local and global operators do differently: in the first
stage little but mean colours would be left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from supernet.network import Network

#: Fewest images of a batch: the estimator divides by N - 3.
LEAST_IMAGES = 4


def compute_gram(features: Tensor) -> Tensor:
    """Return the inner products ``(N, N)`` of the images' features ``(N, ...)``, in double precision."""
    flat = features.flatten(1).float()
    # A common offset does not change the estimate, but would cost its digits.
    flat = flat - flat.mean(dim=0)
    return (flat @ flat.T).double()


def centre_gram(gram: Tensor) -> Tensor:
    """Return inner products ``(N, N)`` centred such that HSIC is estimated without bias.

    With zeros on the diagonal and rows that sum to zero, ``(centre_gram(K) * centre_gram(L)).sum()`` is
    ``N (N - 3)`` times the estimator of Song et al. (2012), HSIC_1 of Nguyen et al.
    """
    n = len(gram)
    off = gram - torch.diag(gram.diagonal())
    rows = off.sum(dim=0)
    off = off - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return off - torch.diag(off.diagonal())


@torch.inference_mode()
def compute_similarities(network: Network, batches: Iterable[Tensor]) -> list[float | None]:
    """Return the CKA of every block's output and the last block's, first to last.

    Args:
        network: The network, on the device of the images.
        batches: Images ``(N, C, H, W)``, the same N of at least 4 in every batch.

    Returns:
        Values of at most about 1, slightly below 0 at worst; None for a block whose output is the same for
        every image.
    """
    blocks = [block for stage in network.stages for block in stage.blocks]  # type: ignore[union-attr]
    grams: list[Tensor] = [torch.empty(0)] * len(blocks)

    def store_gram(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            x = output[0] if isinstance(output, tuple) else output  # a block may return attention maps too
            grams[index] = centre_gram(compute_gram(x))

        return hook

    handles = [block.register_forward_hook(store_gram(index)) for index, block in enumerate(blocks)]
    cross, own = torch.zeros(2, len(blocks), dtype=torch.float64)
    try:
        network.eval()
        for images in batches:
            network(images)
            cross += torch.stack([(gram * grams[-1]).sum() for gram in grams]).cpu()
            own += torch.stack([(gram * gram).sum() for gram in grams]).cpu()
    finally:
        for handle in handles:
            handle.remove()
    norms = (own * own[-1]).sqrt()
    return [
        float(value / norm) if norm > 0 and norm.isfinite() else None
        for value, norm in zip(cross, norms, strict=True)
    ]
