"""The script that says where a training step goes: kinds of kernels, counted operations, and the table."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "where_time_goes.py"


@pytest.fixture
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_each_kernel_has_its_kind_and_its_operations(script: ModuleType) -> None:
    x = torch.randn(2, 6, 5, 5, requires_grad=True)
    depthwise = torch.randn(6, 1, 3, 3, requires_grad=True)
    dense = torch.randn(4, 6, 3, 3, requires_grad=True)
    linear, bias = torch.randn(8, 4, requires_grad=True), torch.randn(8, requires_grad=True)
    q = torch.randn(2, 1, 7, 16, requires_grad=True)

    def step() -> None:
        y = F.conv2d(F.conv2d(x, depthwise, padding=1, groups=6), dense, padding=1)
        F.gelu(F.linear(y.flatten(2).transpose(1, 2).reshape(50, 4), linear, bias)).sum().backward()
        F.scaled_dot_product_attention(q, q, q).sum().backward()

    shares = script.measure([step, step])
    flops = {kind: share.flops / 2 for kind, share in shares.items() if share.flops}
    assert flops == {
        "products, forward": 2 * 50 * 4 * 8,
        "products, backward and others": 2 * 2 * 50 * 4 * 8,
        "convolution, forward": 2 * (2 * 4 * 25) * 6 * 9,
        "depth-wise convolution, forward": 2 * (2 * 6 * 25) * 9,
        "convolution, backward": 2 * 2 * (2 * 4 * 25) * 6 * 9,
        "depth-wise convolution, backward": 2 * 2 * (2 * 6 * 25) * 9,
        "fused attention, forward": 2 * 2 * 2 * 7 * 7 * 16,
        "fused attention, backward": 5 * 2 * 2 * 7 * 7 * 16,
    }
    assert {"GELU", script.REST} <= shares.keys()
    assert all(share.seconds > 0 for share in shares.values())


def test_the_table_says_shares_and_rates(script: ModuleType) -> None:
    shares = {"products, forward": script.Share(1.0, 50.0), "GELU": script.Share(3.0)}
    assert script.to_table(shares, 100.0).splitlines()[2:] == [
        "| GELU | 75.0% |  |",
        "| products, forward | 25.0% | 50% |",
        "| all | 100% | 12% |",
    ]
