"""LSA: the contract of an operator, and attention written out window by window."""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor

from search_spaces.architecture import Block
from supernet.kernels import pad_to_multiple, window_merge, window_partition
from supernet.operators.lsa import LocallyGroupedAttention
from supernet.pos import LocallyEnhancedPosition, RelativePositionBias
from tests.helpers.naive import convolve_window
from tests.helpers.operator_cases import DIM, MixerCase
from tests.operator_contract import OperatorContract


def made(
    dim: int, num_heads: int, window: int, *, rpe: bool = False, lepe: bool = False, **more: bool
) -> LocallyGroupedAttention:
    torch.manual_seed(1)
    module = LocallyGroupedAttention(
        dim,
        num_heads,
        window,
        rpe=RelativePositionBias(window, window, num_heads) if rpe else None,
        lepe=LocallyEnhancedPosition(dim) if lepe else None,
        **more,
    )
    module.double().eval()
    if module.rpe is not None:
        torch.nn.init.normal_(module.rpe.table)
    return module


def naive(module: LocallyGroupedAttention, x: Tensor) -> Tensor:
    """Attend in one window after the other; a masked key is not there at all."""
    k, heads = module.window_size, module.num_heads
    B, H, W, C = x.shape
    rows, columns = -(-H // k) * k, -(-W // k) * k
    padded = x.new_zeros(B, rows, columns, C)
    padded[:, :H, :W] = x
    out = torch.zeros_like(padded)
    for top in range(0, rows, k):
        for left in range(0, columns, k):
            places = [(top + y, left + x) for y in range(k) for x in range(k)]
            seen = [i for i, (y, x) in enumerate(places) if not module.mask_padding or (y < H and x < W)]
            window = padded[:, top : top + k, left : left + k]
            q, key, v = rearrange(
                module.qkv(window), "b y x (three h d) -> three b h (y x) d", three=3, h=heads
            )
            logits = einsum(q, key, "b h n d, b h m d -> b h n m") * q.shape[-1] ** -0.5
            if module.rpe is not None:
                for i, (yq, xq) in enumerate(places):
                    for j, (yk, xk) in enumerate(places):
                        logits[:, :, i, j] += module.rpe.table[yq - yk + k - 1, xq - xk + k - 1]
            mixed = einsum(logits[..., seen].softmax(-1), v[:, :, seen], "b h n m, b h m d -> b h n d")
            if module.lepe is not None:
                values = rearrange(v, "b h (y x) d -> b y x (h d)", y=k)
                local = convolve_window(values, module.lepe.weight[:, 0], module.lepe.bias)
                mixed = mixed + rearrange(local, "b y x (h d) -> b h (y x) d", h=heads)
            out[:, top : top + k, left : left + k] = rearrange(mixed, "b h (y x) d -> b y x (h d)", y=k)
    return module.proj(out[:, :H, :W])


class TestLSA(OperatorContract):
    operator = "lsa"
    settings = ({"window_size": 2}, {"window_size": 3}, {"window_size": 5})
    variants = (
        MixerCase("unmasked", lambda: made(DIM, 2, 4, lepe=True, mask_padding=False), (8, 12)),
        MixerCase("three heads", lambda: made(DIM, 3, 3, rpe=True, qkv_bias=False), (6, 9)),
    )

    def naive(self, module: LocallyGroupedAttention, x: Tensor) -> Tensor:
        return naive(module, x)

    def dividing_size(self, block: Block) -> tuple[int, int]:
        window = int(block.knob("window_size"))
        return 2 * window, 3 * window


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize(("rpe", "lepe"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(("H", "W"), [(6, 9), (7, 4), (6, 5), (2, 2)])
@torch.no_grad()
def test_equals_naive(H: int, W: int, rpe: bool, lepe: bool, mask_padding: bool) -> None:
    module = made(12, 3, 3, rpe=rpe, lepe=lepe, mask_padding=mask_padding)
    x = torch.randn(2, H, W, 12, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


@torch.no_grad()
def test_padding_code_leaves_divisible_maps_alone() -> None:
    masked, unmasked = made(12, 2, 3), made(12, 2, 3, mask_padding=False)
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    assert masked.bias(6, 9) is None
    assert torch.equal(masked(x), unmasked(x))


@torch.no_grad()
def test_a_masked_window_sees_what_a_smaller_map_holds() -> None:
    """A map smaller than one window, padded and masked, attends as one full window of its own size would."""
    module = made(12, 2, 5)
    x = torch.randn(2, 3, 3, 12, dtype=torch.float64)
    small = made(12, 2, 3)
    small.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(x), small(x))


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 2), (1, 6), (6, 1)])
def test_windows_are_cut_row_by_row_and_put_together(height: int, width: int) -> None:
    x = torch.randn(2, 6, 6, 5)
    windows = window_partition(x, height, width)
    cut = rearrange(x, "b (i y) (j x) c -> (b i j) (y x) c", y=height, x=width)
    assert torch.equal(windows, cut)
    assert torch.equal(window_merge(windows, height, width, 6, 6), x)


def test_padding_is_zeros_right_and_bottom() -> None:
    x = torch.randn(1, 4, 5, 2)
    padded = pad_to_multiple(x, 3, 4)
    assert padded.shape == (1, 6, 8, 2)
    assert torch.equal(padded[:, :4, :5], x)
    assert not padded[:, 4:].any() and not padded[:, :, 5:].any()
    assert pad_to_multiple(x, 2, 5) is x
