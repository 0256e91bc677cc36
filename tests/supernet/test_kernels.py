"""Fused and plain attention agree for every shape of bias."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from supernet.kernels import attention, plain_attention


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("bias", [None, (2, 5, 7), (1, 2, 5, 7), (3, 1, 5, 7), (3, 2, 5, 7), (6, 2, 5, 7)])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("learned", [False, True])
def test_kernels_agree(bias: tuple[int, ...] | None, scale: float | None, learned: bool) -> None:
    q, k, v = images(6, 2, 5, 4), images(6, 2, 7, 4) + 1, images(6, 2, 7, 4) - 1
    added = whole = None
    if bias is not None:
        added = images(*bias).requires_grad_(learned)
        # Three windows of two images: those of the second are biased as those of the first.
        whole = added if len(added) == 6 else added.expand(3, 2, 5, 7).repeat(2, 1, 1, 1)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=whole, scale=scale)
    for attend in (attention, plain_attention):
        out = attend(q, k, v, added, scale)
        torch.testing.assert_close(out, expected)
        if learned and added is not None:
            gradient = images(*out.shape)
            both = [torch.autograd.grad(made, added, gradient, retain_graph=True) for made in (out, expected)]
            torch.testing.assert_close(*both)
