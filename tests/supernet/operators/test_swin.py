"""Swin: the contract of an operator, and attention written out for every query and its visible keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from search_spaces.architecture import Block
from supernet.operators.swin import ShiftedWindowAttention
from tests.helpers.operator_cases import DIM, MixerCase
from tests.operator_contract import OperatorContract


def made(*args: int) -> ShiftedWindowAttention:
    torch.manual_seed(6)
    module = ShiftedWindowAttention(*args).double().eval()
    torch.nn.init.normal_(module.rpe.table)
    return module


def part(place: int, size: int, window: int, shift: int) -> int:
    """Number the part of a shifted axis that a place lies in; the paper's code compares these."""
    if not shift or place < size - window:
        return 0
    return 1 if place < size - shift else 2


def naive(module: ShiftedWindowAttention, x: Tensor) -> Tensor:
    """Move the map by indexing, add zeros, and attend query by query to the keys it may see."""
    B, H, W, C = x.shape
    size, heads = module.window_size, module.num_heads
    rows, columns, d = -(-H // size) * size, -(-W // size) * size, C // heads
    # An axis that one window covers is not moved.
    down, right = (module.shift_size if side > size else 0 for side in (H, W))
    moved = x.new_zeros(B, rows, columns, C)
    for y in range(H):
        for c in range(W):
            moved[:, y, c] = x[:, (y + down) % H, (c + right) % W]
    q, k, v = module.qkv(moved).view(B, rows, columns, 3, heads, d).unbind(3)
    out = torch.zeros_like(x)
    for y in range(H):
        for c in range(W):
            keys, bias = [], []
            top, left = y // size * size, c // size * size
            for yk in range(top, top + size):
                for ck in range(left, left + size):
                    same_row = part(y, rows, size, down) == part(yk, rows, size, down)
                    if same_row and part(c, columns, size, right) == part(ck, columns, size, right):
                        keys.append((yk, ck))
                        bias.append(module.rpe.table[y - yk + size - 1, c - ck + size - 1])
            seen = torch.stack([k[:, yk, ck] for yk, ck in keys], dim=1)
            values = torch.stack([v[:, yk, ck] for yk, ck in keys], dim=1)
            logits = torch.einsum("bhd,bmhd->bmh", q[:, y, c], seen) / d**0.5 + torch.stack(bias)
            mixed = torch.einsum("bmh,bmhd->bhd", logits.softmax(1), values)
            out[:, (y + down) % H, (c + right) % W] = mixed.flatten(1)
    return module.proj(out)


class TestSwin(OperatorContract):
    operator = "swin"
    settings = (
        {"window_size": 2, "shift": "none"},
        {"window_size": 3, "shift": "half"},
        {"window_size": 5, "shift": "half"},
    )
    variants = (MixerCase("shift 1", lambda: made(DIM, 2, 4, 1), (8, 12)),)

    def naive(self, module: ShiftedWindowAttention, x: Tensor) -> Tensor:
        return naive(module, x)

    def dividing_size(self, block: Block) -> tuple[int, int]:
        window = int(block.knob("window_size"))
        return 2 * window, 3 * window


@pytest.mark.parametrize(("window_size", "shift_size"), [(2, 0), (3, 0), (2, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize(("H", "W"), [(6, 6), (5, 7), (4, 3), (2, 2)])
@torch.no_grad()
def test_equals_naive(H: int, W: int, window_size: int, shift_size: int) -> None:
    module = made(12, 3, window_size, shift_size)
    x = torch.randn(2, H, W, 12, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


@torch.no_grad()
def test_the_shift_never_joins_opposite_borders() -> None:
    module = made(8, 2, 4, 2)
    x = torch.randn(1, 8, 8, 8, dtype=torch.float64)
    before = module(x)
    x[:, :2] += 1.0
    assert torch.equal(module(x)[:, 2:], before[:, 2:])
