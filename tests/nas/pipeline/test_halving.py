"""Halving a study's candidates, in one process without Ray: its results, its report and what is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.training import retraining
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

OLD = Path(__file__).parents[2] / "golden/old_study"  # of 12 trials, with its supernet


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "study"
    shutil.copytree(OLD, folder)
    shutil.rmtree(folder / "retrained")
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.cluster.ray_cluster.start", lambda cluster: None)

    def run(
        function: Any, jobs: list[Any], payload: Any, teams: Any, folder: str, on_result: Any, plan: Any
    ) -> None:
        for job in jobs:
            function(job, payload, torch.device("cpu"), on_result, 0, 1)

    monkeypatch.setattr(retraining, "run_trials", run)
    return folder


def test_the_search_ends_in_retrained_accuracies(nas: Nas, study: Path) -> None:
    asked = ("retrain", study, "--top", "2", "--epochs", "3", "--budget", "1cpu", "--json")
    outcome = nas(*asked)
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)
    record = json.loads((study / "halving.json").read_text())
    assert len(record["candidates"]) == 8  # four for each that is trained to the end
    assert record["rungs"] == [{"epochs": 1, "keep": 4}, {"epochs": 2, "keep": 2}]
    kept = {each["digest"] for each in record["candidates"] if each["out_after"] is None}
    scratch = [result for result in results if result["mode"] == "scratch"]
    assert {result["digest"] for result in scratch} == kept and len(scratch) == 2
    # The better of the two is trained from the supernet's weights as well.
    (heir,) = [result for result in results if result["mode"] == "inherit"]
    assert heir["digest"] == max(scratch, key=lambda result: result["val_top1"])["digest"]
    assert [result["val_top1"] for result in results] == sorted(
        (r["val_top1"] for r in results), reverse=True
    )
    # Asked again, nothing is trained, and nothing is different.
    again = nas(*asked)
    assert json.loads(again.out) == results
    assert json.loads((study / "halving.json").read_text())["candidates"] == record["candidates"]

    assert nas("report", study).code == 0
    page = (study / "report.html").read_text()
    assert "Supernet's front and retrained front" in page
    assert all(each["digest"] in page for each in record["candidates"])
    outcome = nas("export", study, "--format", "source", "--json")
    assert json.loads(outcome.out)["digest"] == results[0]["digest"]


def test_as_many_candidates_as_are_kept_are_the_best_of_the_front(nas: Nas, study: Path) -> None:
    front = [entry["digest"] for entry in json.loads((study / "front.json").read_text())["front"]]
    asked = ("retrain", study, "--candidates", "1", "--epochs", "1", "--budget", "1cpu", "--json")
    results = json.loads(nas(*asked).out)
    assert {(result["digest"], result["mode"]) for result in results} == {
        (front[0], "scratch"),
        (front[0], "inherit"),
    }
    assert not (study / "halving.json").exists()
