"""Our networks and timm's have the same weights and give the same logits."""

from __future__ import annotations

import pytest
import torch

from nas.bench import (
    memory,
    networks,
)
from tests.helpers.bench import QUICK


@pytest.mark.parametrize(("name", "timm_name"), networks.TWINS)
def test_our_networks_carry_the_weights_of_timms(name: str, timm_name: str) -> None:
    ours, theirs = networks.build_pair(name, timm_name, 224)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert all(0.0 in (getattr(block, "drop_path", 0.0),) for block in ours.modules())


def test_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "time_in_turn", lambda sides, *rest: [[1.0], [2.0]])
    monkeypatch.setattr(memory, "measure_peak_bytes", lambda *rest: 1)
    rows = networks.bench(QUICK, networks.TWINS[:1], ())
    assert [row.target_met for row in rows] == [True, True]
    assert rows[0].details["max_abs_difference"] < 1e-4


@torch.no_grad()
def test_the_plain_side_of_a_design_gives_its_logits_by_other_operations() -> None:
    ours, theirs = networks.build_plain_pair("cswin_tiny", 224)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-4)
    assert fused_calls(ours, x) > 0 and fused_calls(theirs, x) == 0


def fused_calls(network: torch.nn.Module, x: torch.Tensor) -> int:
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded,
        torch.no_grad(),
    ):
        network(x)
    return sum(event.name == "aten::scaled_dot_product_attention" for event in recorded.events())
