"""The script that compares samplers: hypervolume and rows by hand, a tiny run, and that NOTES quotes the results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nas.search.loop import analytic_costs
from search_spaces.architecture import Architecture
from tests.helpers.scripts import load_script
from tests.helpers.searches import small_space

FOLDER = Path(__file__).parents[2] / "studies" / "samplers"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return load_script(FOLDER / "run.py")


def row(design: Architecture, told: float) -> Any:
    scores = {"top1": told, "macs": analytic_costs(design)["macs"]}
    return SimpleNamespace(architecture=design, scores=scores)


def test_hypervolume_is_of_what_is_true_of_the_front_that_was_told(study: ModuleType) -> None:
    space = small_space()
    small, large = space.smallest, space.largest
    ends = [math.log(analytic_costs(one)["macs"]) for one in (small, large)]
    middle = min(
        space.enumerate(), key=lambda one: abs(math.log(analytic_costs(one)["macs"]) - sum(ends) / 2)
    )
    place = (math.log(analytic_costs(middle)["macs"]) - ends[0]) / (ends[1] - ends[0])
    truths = {small.digest: 20.0, middle.digest: 30.0, large.digest: 90.0}
    bed = SimpleNamespace(low=10.0, high=50.0, truth=lambda design: truths[design.digest])
    assert study.hypervolume([row(small, 25)], space, bed) == pytest.approx(25)
    rows = [row(small, 25), row(middle, 35)]
    assert study.hypervolume(rows, space, bed) == pytest.approx(25 * place + 50 * (1 - place))
    # The largest is the best in truth, but was told to be worse: no front holds it.
    assert study.hypervolume([*rows, row(large, 34)], space, bed) == pytest.approx(25 + 25 * (1 - place))
    # Told to be better than it is, a design takes nothing from what cheaper ones dominate.
    truths[middle.digest] = 15.0
    assert study.hypervolume(rows, space, bed) == pytest.approx(25)


def test_a_row_is_paired_by_seed(study: ModuleType) -> None:
    def curve(*values: float) -> dict[str, Any]:
        return {"hypervolume": list(values), "proposing": [0.0, 0.0, 0.0, 3.2]}

    random = [curve(10, 20, 30, 40), curve(10, 20, 30, 42)]
    own = [curve(30, 41, 43, 50), curve(20, 30, 30, 40)]
    # After 8, 16 and 32; 50 - 40 and 40 - 42; 40 is reached at 16; 30 - 40 and 20 - 42; 3.2 s for 32.
    assert study.to_row("own", own, random, 32) == (
        "| own | 2 | 25.0 ± 7.1 | 35.5 ± 7.8 | 45.0 ± 7.1 | +4.0 ± 8.5, 1 of 2 | 16, never | "
        "-16.0 ± 8.5, 0 of 2 | 0.100 |"
    )


def test_a_tiny_comparison_is_run_once(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "TREES", 3)
    monkeypatch.setattr(study, "FOLDS", 2)
    monkeypatch.setattr(study, "BATCH", 16)
    words = ["--scratch", str(tmp_path), "--seeds", "1", "1", "--trials", "32", "32", "--out", str(tmp_path)]
    words += ["--only", "random", "screened", "local search"]
    study.main(words)
    content = json.loads((tmp_path / "results.json").read_text())
    (bed,) = content["beds"].values()
    assert {name: len(runs) for name, runs in bed["runs"].items()} == {
        name: 1 for name in ("random", "screened", "local search")
    }
    for (run,) in bed["runs"].values():
        assert len(run["hypervolume"]) == 4 and run["proposing"] == sorted(run["proposing"])
        assert run["hypervolume"][:2] == bed["runs"]["random"][0]["hypervolume"][:2]  # the same first batch
    printed = capsys.readouterr().out

    def refuse(*given: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(study, "search", refuse)
    study.main(words)
    assert capsys.readouterr().out == printed


def test_accuracies_in_a_supernet_are_shared(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def evaluate(self: Any, designs: list[Architecture]) -> None:
        asked.extend(design.digest for design in designs)
        self._known.update({design.digest: [40.0 + len(asked), 0.5] for design in designs})

    monkeypatch.setattr(study.SupernetBed, "_evaluate", evaluate)
    small, large = small_space().smallest, small_space().largest
    bed = study.SupernetBed(tmp_path, tmp_path / "cache.json")
    assert bed.answer([small]) == [41.0]
    again = study.SupernetBed(tmp_path, tmp_path / "cache.json")
    assert again.answer([large, small]) == [42.0, 41.0]
    assert asked == [small.digest, large.digest]
    assert (again.truth(large), again.seconds) == (42.0, 0.5)


def test_notes_quote_what_the_results_print(study: ModuleType) -> None:
    content = json.loads((FOLDER / "results" / "results.json").read_text())
    notes = (FOLDER / "NOTES.md").read_text(encoding="utf-8")
    for line in study.to_lines(content):
        assert line in notes, line
