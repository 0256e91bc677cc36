"""The script that compares teams with Ray Train: ratios by hand, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from nas.cluster import ray_cluster
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "teams.py"


@pytest.fixture
def teams() -> ModuleType:
    return load_script(SCRIPT)


def test_ratios_are_of_the_same_round(teams: ModuleType) -> None:
    def times(start: float) -> dict[str, float]:
        return {"start": start, "step": 1.0, "end": 1.0, "recovery": 2.0 * start, "steps_done_twice": 0.0}

    summary = teams.summarize(
        [
            {"ours": times(1), "ray_train": times(3)},
            {"ours": times(2), "ray_train": times(4)},
            {"ours": times(10), "ray_train": times(10)},
        ]
    )
    assert summary["start_ratio"] == summary["recovery_ratio"] == [2.0, 1.0, 3.0]
    assert (summary["ours_start_seconds"], summary["ray_train_start_seconds"]) == (2, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:unclosed:ResourceWarning")
def test_both_ways_do_every_step(
    teams: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # which the script sets for its workers
    ray_cluster.stop()
    teams.main(["--rounds", "1", "--steps", "6", "--out", str(tmp_path / "teams.json")])
    (found,) = json.loads((tmp_path / "teams.json").read_text())["rounds"]
    assert all(found[way]["recovery"] > 0 and found[way]["start"] > 0 for way in ("ours", "ray_train"))
