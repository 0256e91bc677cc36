"""CSWin: the contract of an operator, and attention written out stripe by stripe."""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.pos import LocallyEnhancedPosition, RelativePositionBias
from tests.helpers.naive import convolve_window, relative_bias
from tests.helpers.operator_cases import DIM, MixerCase
from tests.operator_contract import OperatorContract


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
                logits = logits + relative_bias(rpe.table, height, width)
            mixed = einsum(logits.softmax(-1), values, "b h n m, b h m d -> b h n d")
            out[stripe] = rearrange(mixed, "b h (y x) d -> b y x (h d)", y=height)
            if module.lepe is not None:
                out[stripe] += convolve_window(v[stripe], module.lepe.weight[part, 0], module.lepe.bias[part])
    return out[inner]


def made(
    dim: int,
    num_heads: int,
    stripe_width: int | None,
    *,
    lepe: bool = False,
    rpe_size: tuple[int, int] | None = None,
    **more: bool,
) -> CrossShapedWindowAttention:
    tables = {}
    if rpe_size is not None and stripe_width is None:
        tables["rpe"] = RelativePositionBias(*rpe_size, num_heads)
    elif rpe_size is not None and stripe_width is not None:
        tables["rpe_columns"] = RelativePositionBias(rpe_size[0], stripe_width, num_heads // 2)
        tables["rpe_rows"] = RelativePositionBias(stripe_width, rpe_size[1], num_heads // 2)
    encoding = LocallyEnhancedPosition(dim) if lepe else None
    return CrossShapedWindowAttention(dim, num_heads, stripe_width, lepe=encoding, **tables, **more)


class TestCSWin(OperatorContract):
    operator = "cswin"
    settings = ({"stripe_width": 1}, {"stripe_width": 3}, {"stripe_width": 6})
    # 6 covers the first map; on the second it is wider than the map is high.
    feature_maps = (FeatureMap(16, 4, 6, 6), FeatureMap(24, 4, 5, 7, qkv_bias=False))
    variants = (MixerCase("odd heads", lambda: made(DIM, 3, None, qkv_bias=False, rpe_size=(4, 4)), (4, 4)),)

    def naive(self, module: CrossShapedWindowAttention, x: Tensor) -> Tensor:
        return naive(module, x)

    def dividing_size(self, block: Block) -> tuple[int, int]:
        stripe = int(block.knob("stripe_width"))
        return stripe, 2 * stripe


@pytest.mark.parametrize("stripe_width", [1, 2, 3, None])
@pytest.mark.parametrize(("lepe", "rpe_size"), [(True, None), (False, (5, 4)), (False, None)])
@pytest.mark.parametrize(("H", "W"), [(6, 6), (7, 4), (2, 5)])
@torch.no_grad()
def test_equals_naive(
    H: int, W: int, stripe_width: int | None, lepe: bool, rpe_size: tuple[int, int] | None
) -> None:
    torch.manual_seed(2)
    module = made(16, 4, stripe_width, lepe=lepe, rpe_size=rpe_size).double().eval()
    for name, parameter in module.named_parameters():
        if name.endswith("table"):
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, H, W, 16, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


@torch.no_grad()
def test_a_position_is_reached_through_its_cross_alone() -> None:
    module = CrossShapedWindowAttention(8, 2, 2).double().eval()
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
        assert torch.equal(rpe(height, width), relative_bias(rpe.table, height, width))
