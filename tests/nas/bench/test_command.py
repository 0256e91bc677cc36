"""Benches run by name; tables, pages and files say what they measured."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nas.bench import (
    command,
    page,
)
from nas.bench.cells import to_cells, to_line
from nas.bench.measurement import (
    NO_MORE_MEMORY,
    Measurement,
    Target,
    compare_times,
)
from nas.bench.table import to_table
from nas.latency.table import LatencyTable
from tests.helpers.bench import QUICK
from tests.helpers.command_line import Nas


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every bench two rows at once."""

    def bench(name: str) -> Any:
        details = {"macs": 10, "bytes": 20, "peak_bytes": {"ours": 1, "theirs": 2}}
        rows = [
            compare_times(
                f"{name} <b>",
                [1.0] * 2,
                [2.0] * 2,
                4,
                against="[x]",
                target=Target(1.0),
                memory_target=NO_MORE_MEMORY,
                details=details,
            ),
            Measurement(f"{name} alone", 1.0, "%", target=Target(0.5, at_most=True)),
        ]
        table = LatencyTable({"a": 1.0}, "x", "float32", 1, (28, 28), "d", {})
        return lambda setup: (table, rows) if name == "latency" else rows

    monkeypatch.setattr(command, "_load_bench", bench)


def test_all_but_latency_run_where_none_is_named(stubbed: None) -> None:
    heard: list[str] = []
    outcome = command.run(command.choose_benches((), None), QUICK, lambda name, rows: heard.append(name))
    assert heard == list(outcome.measurements)
    assert heard == ["operators", "networks", "supernet", "population", "search", "workers"]
    value = json.loads(json.dumps(outcome.to_json({"commit": "c"})))
    row, alone = value["benches"]["operators"]
    assert (row["ratio"], row["target"], row["met"], row["rounds"]) == (2.0, ">= 1", True, 2)
    assert (row["memory"], row["memory_target"], row["memory_met"]) == (0.5, "<= 1", True)
    assert (alone["ratio"], alone["met"], alone["memory_met"]) == (None, False, None)
    assert value["machine"]["clock"] == "core" and value["provenance"] == {"commit": "c"}


def test_without_tables_a_measurement_is_a_line(stubbed: None) -> None:
    both, alone = command.run(("operators",), QUICK, lambda name, rows: None).measurements["operators"]
    name, said = both.name, to_line(to_cells(both))
    assert said.startswith(f"{name}; against {both.against}: ")
    assert said.endswith(", ratio 2.00 (2.00-2.00), target >= 1 met, memory 0.50 met")
    assert to_line(to_cells(alone)).endswith("target <= 0.5 missed") and "ratio" not in to_line(
        to_cells(alone)
    )


def test_tables_and_pages_say_which_targets_are_met(stubbed: None) -> None:
    outcome = command.run(("operators",), QUICK, lambda name, rows: None)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_table("operators", outcome.measurements["operators"]))
    text = console.export_text()
    assert ">= 1 met" in text and "<= 0.5 missed" in text and "2.00 (2.00-2.00)" in text and "[x]" in text
    assert "0.50 met" in text
    origin = {"commit": None, "dirty": None, "time": "now", "command": ["nas", "bench"]}
    text = page.to_page(outcome.measurements, outcome.machine, origin)
    assert (
        "operators &lt;b&gt;" in text
        and "1 of 2 targets met" in text
        and "above the other side's in 1 of 1" in text
        and "nas bench" in text
    )


def test_the_command_writes_what_it_found(stubbed: None, nas: Nas, tmp_path: Path) -> None:
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    done = nas("bench", "operators", "--json", "--device", "cpu", "--out", out, "--html", page)
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(out.read_text())
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_of_latency_the_table_is_kept(stubbed: None, nas: Nas, tmp_path: Path) -> None:
    done = nas("bench", "latency", "--device", "cpu", "--out", tmp_path / "t.json")
    assert done.code == 0 and "latency" in done.out
    assert LatencyTable.from_json(json.loads((tmp_path / "t.json").read_text())).space == "d"
