"""``trials.csv``: there from the first trial on, readable after a kill, whole at the end."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from nas.study.trial_table import TrialTable, trial_rows, write_trials
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.searches import small_space


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_records() -> list[TrialRecord]:
    space = small_space()
    design, other = space.smallest, space.largest
    first = TrialRecord(0, 0, {}, design, {"macs": 5.0}, rejected="macs 5 > 4")
    second = TrialRecord(0, 1, {}, other, {"macs": 3.0, "top1": 50.5}, images=200, origin='a, "b"')
    third = replace(second, index_in_batch=2, repeat=True)
    return [first, second, third, replace(second, batch=1, index_in_batch=0, failed="no memory")]


def test_a_line_is_there_with_each_trial(tmp_path: Path) -> None:
    records, path = make_records(), tmp_path / "trials.csv"
    table = TrialTable(path, [])
    for count, record in enumerate(records, start=1):
        table.add(record)
        rows = read(path)
        assert [row["digest"] for row in rows] == [each.architecture.digest for each in records[:count]]
    assert [row["outcome"] for row in rows] == ["over a limit", "evaluated", "repeated", "failed"]
    assert [row["top1"] for row in rows] == ["", "50.5", "50.5", "50.5"]  # known of no trial at first
    assert rows[1]["origin"] == 'a, "b"' and rows[1]["images"] == "200" and rows[1]["on_front"] == ""
    assert [(row["batch"], row["place"]) for row in rows] == [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1")]


def test_what_a_kill_left_is_written_anew(tmp_path: Path) -> None:
    records, path = make_records(), tmp_path / "trials.csv"
    table = TrialTable(path, [])
    for record in records[:3]:
        table.add(record)
    path.write_text(path.read_text()[:-9])  # torn in its last line
    TrialTable(path, records[:3]).add(records[3])
    write_trials(tmp_path / "whole.csv", records, [records[1]])
    rows, whole = read(path), read(tmp_path / "whole.csv")
    assert [row["on_front"] for row in whole] == ["False", "True", "False", "False"]
    assert [{**row, "on_front": ""} for row in whole] == rows
    write_trials(tmp_path / "none.csv", [], [])
    assert not (tmp_path / "none.csv").exists()


def test_a_search_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it works, after it was ended, and once it is finished."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    path, lines = Path("studies/s/trials.csv"), list[int]()

    class Stop(nas.Callback):
        def on_trial(self, architecture: Any, scores: Any, evaluated: int) -> None:
            lines.append(len(read(path)))
            if evaluated == 6:
                raise ValueError("enough")

    settings: dict[str, Any] = {"objective": "macs,params", "max_macs": "300k", "study": "s", "quiet": True}
    with pytest.raises(nas.NasError, match="enough"):
        nas.search("tiny.yaml", "folder:images", budget="1cpu,20trials", callbacks=[Stop()], **settings)
    assert lines == sorted(lines) and 0 < lines[0] <= lines[-1] == len(read(path))
    found = nas.search("tiny.yaml", "folder:images", budget="1cpu,20trials", **settings)
    rows, records = read(path), Study(found.path).records()
    assert rows == [
        {name: str(value) for name, value in row.items()}
        for row in trial_rows(records, {design.digest for design in found.front})
    ]
    assert {row["digest"] for row in rows if row["on_front"] == "True"} == {d.digest for d in found.front}
