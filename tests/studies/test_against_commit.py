"""The script that compares a training step with that of an earlier commit: ratios by hand, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "against_commit.py"


@pytest.fixture
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_ratios_are_of_the_same_step(script: ModuleType) -> None:
    def times(core: float, within: float, loss: float = 2.0) -> dict[str, float]:
        return {
            "core": core,
            "core_within": within,
            "wall": 2 * core,
            "wall_within": 2 * within,
            "loss": loss,
        }

    rounds = [
        [{"before": times(2, 1), "now": times(4, 1)}, {"before": times(10, 4), "now": times(10, 8)}],
        [{"before": times(4, 1), "now": times(12, 2)}, {"before": times(1, 0.5), "now": times(4, 1, 2.5)}],
    ]
    summary = script.summarize(rounds)
    whole = summary["whole step, core"]  # ratios 2, 1, 3 and 4
    assert (whole["ratio"], whole["quartiles"]) == (2.5, [1.25, 3.75])
    assert whole["rounds"] == [1.5, 3.5]
    assert (whole["before_ms"], whole["now_ms"]) == (3000, 7000)
    assert summary["forward and backward, wall"]["ratio"] == 2.0  # 1, 2, 2 and 2
    assert summary["the rest, core"]["rounds"] == [(3 + 1 / 3) / 2, (10 / 3 + 6) / 2]
    assert summary["largest_loss_difference"] == 0.5


@pytest.mark.slow
def test_a_commit_does_what_this_tree_does(script: ModuleType, tmp_path: Path) -> None:
    # More steps than an epoch has.
    options = ["--rounds", "1", "--steps", "4", "--warm-up", "53", "--out", str(tmp_path / "found.json")]
    script.main(["7c9782e", *options])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["recipe"] == {"epochs": 24, "batch_size": 64, "shards": 2, "lr": 0.003, "ema_decay": 0.995}
    assert found["summary"]["largest_loss_difference"] < 1e-5
    assert found["summary"]["whole step, core"]["ratio"] > 0
