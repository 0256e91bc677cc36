"""Our networks and timm's have the same weights and give the same logits."""

from __future__ import annotations

import pytest

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
    rows = networks.bench(QUICK, networks.TWINS[:1])
    assert [row.target_met for row in rows] == [True, True]
    assert rows[0].details["max_abs_difference"] < 1e-4
