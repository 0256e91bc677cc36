"""The script that says what checkpoints cost: shares by hand, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.command_line import TINY_SPACE
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "checkpoints.py"


@pytest.fixture
def checkpoints() -> ModuleType:
    return load_script(SCRIPT)


@pytest.mark.parametrize(("copy", "write", "interval", "before", "now"), [
    (0.5, 5.0, 20.0, 0.2, 0.5 / 20.5),  # 5 of 25 s; half a second of 20.5
    (3.0, 5.0, 97.0, 0.2, 0.03),  # a copy of 3 s comes every 100 s
    (0.5, 60.0, 60.0, 0.75, 0.5 / 60.5),  # nothing is copied while the former is written
])  # fmt: skip
def test_shares(
    checkpoints: ModuleType, copy: float, write: float, interval: float, before: float, now: float
) -> None:
    rounds = [
        {"copy_seconds": copy * k, "copy_processor_seconds": copy * k, "write_seconds": write * k}
        for k in (0.5, 1.0, 7.0)
    ]
    summary = checkpoints.summarize(rounds, 10)
    assert summary["seconds_between_now"] == pytest.approx(interval)
    assert summary["share_blocked_before"] == pytest.approx(before)
    assert summary["share_blocked_now"] == pytest.approx(now)
    assert summary["waiting_ratio"] == pytest.approx(write / copy)


def test_it_runs(checkpoints: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space_file = tmp_path / "tiny.yaml"
    space_file.write_text(TINY_SPACE)
    out = tmp_path / "checkpoints.json"
    checkpoints.main(["--space", str(space_file), "--scale", "nano", "--rounds", "2", "--out", str(out)])
    result = json.loads(out.read_text())
    assert len(result["rounds"]) == 2 and result["summary"]["bytes"] > 10_000
    assert "share_blocked_now" in capsys.readouterr().out
