"""CSWin against attention written out stripe by stripe."""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor

from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.pos import RelativePositionBias


def naive(module: CrossShapedWindowAttention, x: Tensor) -> Tensor:
    """Attend in one stripe after the other, the vertical ones with the first half of channels and heads."""
    H, W, C = x.shape[1:]
    s, heads = module.stripe_width, module.num_heads
    if s is None:
        return module.proj(branch(module, x, slice(0, C), H, W, heads, module.rpe))
    vertical = branch(module, x, slice(0, C // 2), H, s, heads // 2, module.rpe_columns)
    horizontal = branch(module, x, slice(C // 2, C), s, W, heads // 2, module.rpe_rows)
    return module.proj(torch.cat([vertical, horizontal], dim=-1))


def branch(
    module: CrossShapedWindowAttention,
    x: Tensor,
    part: slice,
    height: int,
    width: int,
    heads: int,
    rpe: RelativePositionBias | None,
) -> Tensor:
    """Return what one direction gives for its part of the channels."""
    B, H, W, _ = x.shape
    rows, columns = -(-H // height) * height, -(-W // width) * width
    top_pad, left_pad = (rows - H) // 2, (columns - W) // 2
    inner = (slice(None), slice(top_pad, top_pad + H), slice(left_pad, left_pad + W))
    size = part.stop - part.start
    q, k, v = x.new_zeros(3, B, rows, columns, size)
    for whole, projected in zip((q, k, v), module.qkv(x).chunk(3, dim=-1), strict=True):
        whole[inner] = projected[..., part]
    out = torch.zeros_like(v)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            stripe = (slice(None), slice(top, top + height), slice(left, left + width))
            queries, keys, values = (
                rearrange(t[stripe], "b y x (h d) -> b h (y x) d", h=heads) for t in (q, k, v)
            )
            logits = einsum(queries, keys, "b h n d, b h m d -> b h n m") / (size // heads) ** 0.5
            if rpe is not None:
                logits = logits + offsets(rpe, height, width)
            mixed = einsum(logits.softmax(-1), values, "b h n m, b h m d -> b h n d")
            out[stripe] = rearrange(mixed, "b h (y x) d -> b y x (h d)", y=height)
            if module.lepe is not None and module.lepe.bias is not None:
                out[stripe] += local(v[stripe], module.lepe.weight[part, 0], module.lepe.bias[part])
    return out[inner]


def offsets(rpe: RelativePositionBias, height: int, width: int) -> Tensor:
    """Look up every pair's bias, one by one; offsets beyond the table take its edge."""
    rows, columns, heads = rpe.table.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    bias = rpe.table.new_zeros(heads, len(places), len(places))
    for i, (yq, xq) in enumerate(places):
        for j, (yk, xk) in enumerate(places):
            row = min(max(yq - yk + (rows - 1) // 2, 0), rows - 1)
            column = min(max(xq - xk + (columns - 1) // 2, 0), columns - 1)
            bias[:, i, j] = rpe.table[row, column]
    return bias


def local(v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the 3x3 convolution of one stripe's values ``(b, y, x, c)``, tap by tap."""
    height, width = v.shape[1:3]
    out = torch.zeros_like(v) + bias
    for y in range(height):
        for x in range(width):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        out[:, y, x] += v[:, y + dy, x + dx] * weight[:, dy + 1, dx + 1]
    return out


@pytest.mark.parametrize("stripe_width", [1, 2, 3, None])
@pytest.mark.parametrize(("lepe", "rpe_size"), [(True, None), (False, (5, 4)), (False, None)])
@pytest.mark.parametrize(("H", "W"), [(6, 6), (7, 4), (2, 5)])
@torch.no_grad()
def test_equals_naive(
    H: int, W: int, stripe_width: int | None, lepe: bool, rpe_size: tuple[int, int] | None
) -> None:
    torch.manual_seed(2)
    module = CrossShapedWindowAttention(16, 4, stripe_width, lepe=lepe, rpe_size=rpe_size).double().eval()
    for name, parameter in module.named_parameters():
        if name.endswith("table"):
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, H, W, 16, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


@torch.no_grad()
def test_a_position_is_reached_through_its_cross_alone() -> None:
    module = CrossShapedWindowAttention(8, 2, 2, lepe=False).double().eval()
    x = torch.randn(1, 8, 8, 8, dtype=torch.float64)
    before = module(x)
    x[0, 2, 5] += 1.0
    changed = (module(x) - before).abs().sum(-1)[0] > 1e-9
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:4, :] = True
    expected[:, 4:6] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_bias_table_is_query_minus_key_and_clipped() -> None:
    rpe = RelativePositionBias(3, 2, 4)
    torch.nn.init.normal_(rpe.table)
    for height, width in ((3, 2), (1, 1), (5, 4), (2, 6)):
        assert torch.equal(rpe(height, width), offsets(rpe, height, width))
