"""GSA: the contract of an operator, and a sub-sampled map computed patch by patch."""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor

from search_spaces.architecture import Block
from supernet.operators.gsa import GlobalSubsampledAttention
from tests.operator_contract import OperatorContract


def naive(module: GlobalSubsampledAttention, x: Tensor) -> Tensor:
    """Attend from each position to one key for every full patch; zeros complete a map smaller than one."""
    B, H, W, C = x.shape
    heads, r = module.num_heads, module.sr_ratio
    if H < r or W < r:
        padded = x.new_zeros(B, max(H, r), max(W, r), C)
        padded[:, :H, :W] = x
        return naive(module, padded)[:, :H, :W]
    small = x
    if module.sr is not None and module.norm is not None:
        small = x.new_zeros(B, H // r, W // r, C)
        for i in range(H // r):
            for j in range(W // r):
                patch = x[:, i * r : (i + 1) * r, j * r : (j + 1) * r]
                small[:, i, j] = einsum(patch, module.sr.weight, "b y x c, o c y x -> b o") + module.sr.bias
        mean, variance = small.mean(-1, keepdim=True), small.var(-1, keepdim=True, unbiased=False)
        small = (small - mean) / (variance + 1e-5).sqrt() * module.norm.weight + module.norm.bias
    q = rearrange(module.q(x), "b y x (h d) -> b h (y x) d", h=heads)
    k, v = rearrange(module.kv(small), "b y x (two h d) -> two b h (y x) d", two=2, h=heads)
    logits = einsum(q, k, "b h n d, b h m d -> b h n m") / (C // heads) ** 0.5
    out = einsum(logits.softmax(-1), v, "b h n m, b h m d -> b h n d")
    return module.proj(rearrange(out, "b h (y x) d -> b y x (h d)", y=H))


class TestGSA(OperatorContract):
    operator = "gsa"
    settings = ({"sr_ratio": 1}, {"sr_ratio": 2}, {"sr_ratio": 3})

    def naive(self, module: GlobalSubsampledAttention, x: Tensor) -> Tensor:
        return naive(module, x)

    def dividing_size(self, block: Block) -> tuple[int, int]:
        ratio = int(block.knob("sr_ratio"))
        return 2 * ratio, 3 * ratio


@pytest.mark.parametrize("sr_ratio", [1, 2, 3])
@pytest.mark.parametrize(("H", "W"), [(6, 6), (7, 5), (3, 8)])
@pytest.mark.parametrize("qkv_bias", [True, False])
@torch.no_grad()
def test_equals_naive(H: int, W: int, sr_ratio: int, qkv_bias: bool) -> None:
    torch.manual_seed(sr_ratio)
    module = GlobalSubsampledAttention(12, 3, sr_ratio, qkv_bias=qkv_bias).double().eval()
    if module.norm is not None:
        torch.nn.init.normal_(module.norm.weight)
        torch.nn.init.normal_(module.norm.bias)
    x = torch.randn(2, H, W, 12, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


@torch.no_grad()
def test_a_map_smaller_than_a_patch_is_completed_with_zeros() -> None:
    module = GlobalSubsampledAttention(8, 2, 4).double().eval()
    x = torch.randn(1, 3, 2, 8, dtype=torch.float64)
    padded = x.new_zeros(1, 4, 4, 8)
    padded[:, :3, :2] = x
    torch.testing.assert_close(module(x), module(padded)[:, :3, :2])


@torch.no_grad()
def test_remainder_rows_and_columns_give_no_key() -> None:
    module = GlobalSubsampledAttention(8, 2, 3).double().eval()
    x = torch.randn(1, 7, 8, 8, dtype=torch.float64)
    y = module(x)
    x[:, 6:] += 1
    torch.testing.assert_close(module(x)[:, :6], y[:, :6])
