"""The script that compares the benches of this tree with those of an earlier commit: ratios of equal rows, by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[2] / "studies" / "performance"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return load_script(FOLDER / "benches_against_commit.py")


def test_throughputs_and_times_are_seconds(script: ModuleType) -> None:
    def row(name: str, ours: float, unit: str, against: str = "") -> dict[str, object]:
        return {"name": name, "ours": ours, "unit": unit, "against": against}

    found = script.seconds_by_row(
        {"one": [row("a", 4.0, "images/s", "timm"), row("b", 5.0, "ms")], "two": [row("tau", 0.9, "tau")]}
    )
    assert found == {"one: a against timm": 0.25, "one: b against nothing": 0.005}


def test_rows_of_one_name_are_compared_round_by_round(script: ModuleType) -> None:
    def of(a: float, b: float, c: float, **more: float) -> dict[str, float]:
        return {"one: a": a, "one: b": b, "two: c": c, **more}

    rounds = [
        {"before": of(1, 2, 1, **{"one: old": 1}), "now": of(2, 1, 1)},
        {"before": of(4, 2, 1), "now": of(4, 3, 3)},
        {"before": of(1, 2, 1), "now": of(9, 2, 2, **{"two: new": 1})},
    ]
    summary = script.summarize(rounds)
    assert summary["rows"]["one: a"] == {"ratio": 2.0, "rounds": [2.0, 1.0, 9.0]}
    assert summary["benches"] == {
        "one": {"ratio": 1.5, "least": 1.0, "most": 2.0, "rows": 2},
        "two": {"ratio": 2.0, "least": 2.0, "most": 2.0, "rows": 1},
    }
    assert summary["only"] == {"before": ["one: old"], "now": ["two: new"]}
