"""The script that compares a dry run with its search: what it counts of whom, by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from nas.cluster.crew import _Actor
from nas.cluster.team import _Rank
from nas.pipeline.time_estimate import START_SECONDS
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "estimate_against_run.py"


@pytest.fixture
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_what_is_compared_by_hand(script: ModuleType) -> None:
    plan = {
        "settings": {"recipe": {"epochs": 3}},
        "time": {
            "phases": {
                "supernet": {"seconds": START_SECONDS + 30},
                "search": {"seconds": START_SECONDS + 8},
            }
        },
        "memory": {"supernet": {"bytes": 900}},
    }
    rank, worker = script.Process, script.Process
    found = script.compare(plan, [
        rank(f"ray::{_Rank.__name__}", 60.0, None, 600, {0: 5.0, 1: 15.0, 2: 25.0, 3: 37.0}),
        rank(f"ray::{_Rank.__name__}", 40.0, None, 700, {0: 5.0, 1: 18.0, 2: 30.0}),  # ended before its last was seen
        worker(f"ray::{_Actor.__name__}", 21.0, 6.0, 5000, {3: 1.0}),
        worker(f"ray::{_Actor.__name__}.call", 20.0, 7.0, 5000, {3: 1.0}),
    ])  # fmt: skip
    assert found == {
        "supernet_estimated": 30.0, "supernet_seen": 22.0 * 3 / 2,  # two of three epochs took 22 s
        "search_estimated": 8.0, "search_seen": 14.0,
        "memory_estimated": 900, "memory_seen": 700,
    }  # fmt: skip


def test_processes_of_another_search_are_not_seen(script: ModuleType) -> None:
    seen: dict[int, object] = {}
    script.look(seen, f"{script.MARK}=/nowhere", 0)
    assert seen == {}
