"""Outlook attention: the contract of an operator, and neighbourhoods weighted and summed one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from supernet.operators.outlook import OutlookAttention
from tests.operator_contract import OperatorContract


def naive(module: OutlookAttention, x: Tensor) -> Tensor:
    """Let every centre weigh the values around it and add the sums to its neighbours."""
    B, H, W, C = x.shape
    heads, k, stride = module.num_heads, module.kernel_size, module.stride
    d, half = C // heads, k // 2
    v = module.v(x).view(B, H, W, heads, d)
    out = torch.zeros_like(v)
    for top in range(0, H, stride):
        for left in range(0, W, stride):
            centre = x[:, top : top + stride, left : left + stride].mean(dim=(1, 2))
            weights = (module.attention(centre).view(B, heads, k * k, k * k) / d**0.5).softmax(-1)
            places = [(top + i - half, left + j - half) for i in range(k) for j in range(k)]
            inside = [n for n, (y, c) in enumerate(places) if 0 <= y < H and 0 <= c < W]
            for target in inside:
                for source in inside:
                    value = v[:, places[source][0], places[source][1]]
                    out[:, places[target][0], places[target][1]] += (
                        weights[:, :, target, source].unsqueeze(-1) * value
                    )
    return module.proj(out.flatten(3))


class TestOutlook(OperatorContract):
    operator = "outlook"
    settings = (
        {"kernel_size": 3, "stride": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 5, "stride": 2},
    )
    uses_fused_attention = False

    def naive(self, module: OutlookAttention, x: Tensor) -> Tensor:
        return naive(module, x)


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (5, 2), (1, 1)])
@pytest.mark.parametrize(("H", "W"), [(4, 6), (5, 3), (1, 2)])
@torch.no_grad()
def test_equals_naive(H: int, W: int, kernel_size: int, stride: int) -> None:
    torch.manual_seed(8)
    module = OutlookAttention(8, 2, kernel_size, stride, qkv_bias=stride == 2).double().eval()
    x = torch.randn(2, H, W, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))
