"""Pooling: the contract of an operator, means written out, and timm's module of PoolFormer."""

from __future__ import annotations

import pytest
import torch
from timm.models.metaformer import Pooling as TimmPooling
from torch import Tensor

from search_spaces.architecture import Block
from search_spaces.operators import Cost, FeatureMap, operator
from supernet.operators.pool import Pooling
from tests.operator_contract import OperatorContract


def naive(module: Pooling, x: Tensor) -> Tensor:
    """Subtract each position from the mean of those on the map that are near it."""
    H, W = x.shape[1:3]
    half, out = module.pool_size // 2, torch.empty_like(x)
    for y in range(H):
        for c in range(W):
            rows = [i for i in range(H) if abs(i - y) <= half]
            columns = [j for j in range(W) if abs(j - c) <= half]
            near = [x[:, i, j] for i in rows for j in columns]
            out[:, y, c] = sum(near[1:], near[0]) / len(near) - x[:, y, c]
    return out


class TestPooling(OperatorContract):
    operator = "pool"
    settings = ({"pool_size": 3}, {"pool_size": 5})
    uses_fused_attention = False

    def naive(self, module: Pooling, x: Tensor) -> Tensor:
        return naive(module, x)


def test_values_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]).view(1, 3, 3, 1)
    # A corner has 4 positions on the map, an edge 6; zeros beyond the border would make the first 8 / 9.
    expected = torch.tensor([[2.0, 1.5, 1.0], [0.5, 0.0, -0.5], [-1.0, -1.5, -2.0]]).view(1, 3, 3, 1)
    torch.testing.assert_close(Pooling(3)(x), expected)


@pytest.mark.parametrize("pool_size", [3, 5, 7])
@pytest.mark.parametrize(("H", "W"), [(7, 7), (4, 9), (1, 2)])
def test_equals_timms_module(H: int, W: int, pool_size: int) -> None:
    x = torch.randn(2, H, W, 5, dtype=torch.float64)
    theirs = TimmPooling(pool_size)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(Pooling(pool_size)(x), theirs)


def test_it_costs_nothing_that_is_counted() -> None:
    cost = operator("pool").cost({"pool_size": 3}, "none", FeatureMap(64, 2, 56, 56))
    assert cost == Cost(0, 0, working=2 * 56 * 56 * 64)


@pytest.mark.parametrize(
    ("size", "side", "error"),
    [
        (3, 1, None),
        (7, 4, None),
        (9, 4, "pool_size 9 reaches beyond a 4x6 map of 8 channels and 2 heads; use at most 7"),
    ],
)
def test_a_neighbourhood_fits_its_map(size: int, side: int, error: str | None) -> None:
    assert Block("pool", (("pool_size", size),)).incompatibility(FeatureMap(8, 2, side, 6)) == error


@pytest.mark.parametrize("size", [1, 4])
def test_sizes_are_odd_and_hold_neighbours(size: int) -> None:
    assert operator("pool").validation_error({"pool_size": size}) is not None
