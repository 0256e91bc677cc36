"""Searches from Python: what comes back, what is refused, and that the command line is the same thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from nas.api.result import SearchResult
from nas.report.halving import TITLE
from nas.runtime.console import console, log
from nas.search.loop import pareto_records
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError, StudyError
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder
from tests.helpers.studies import make_study, write_result
from tests.nas.report.test_halving import record as halving_record

KEYWORDS: dict[str, Any] = {"budget": "1cpu,12trials", "objective": "macs,params", "batch": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(folder / "images")
    return folder


@pytest.fixture(scope="module")
def found(place: Path) -> SearchResult:
    """A search of costs alone, which trains nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return nas.search("tiny.yaml", "folder:images", study=place / "costs", **KEYWORDS)


def test_a_search_returns_its_front(found: SearchResult, place: Path) -> None:
    assert found.path == place / "costs" and found.report.read_text().startswith("<!DOCTYPE html>")
    designs = found.front
    assert designs == sorted(designs, key=lambda design: design.scores["macs"]) and found.best == designs[0]
    for design in designs:
        own = costs(design.architecture)
        assert (design.scores["macs"], design.scores["params"]) == (own.macs, own.params)
    rows = found.to_dicts()
    assert len(rows) == 12 and {row["digest"] for row in rows if row["on_front"]} == {
        d.digest for d in designs
    }
    assert list(found.to_dataframe()["macs"]) == [row["macs"] for row in rows]
    assert isinstance(found.study, optuna.Study)
    assert {trial.user_attrs["digest"] for trial in found.study.best_trials} == {d.digest for d in designs}
    assert found.retrained == [] and found.exports == []


def test_a_result_is_short_in_words_and_a_table_in_notebooks(found: SearchResult) -> None:
    assert repr(found).startswith(
        f"<SearchResult {found.path}: {len(found.front)} of 12 designs on the front"
    )
    assert len(repr(found)) < 300
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + len(found.front) and found.best.digest in page


def test_the_same_call_resumes_and_another_is_refused(
    found: SearchResult, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(log, "path", None)  # which tests of what searches are made of leave set
    before = (found.path / "front.json").read_text()
    again = nas.search("tiny.yaml", "folder:images", study=place / "costs", quiet=True, **KEYWORDS)
    assert json.loads((again.path / "front.json").read_text())["front"] == json.loads(before)["front"]
    assert (console.quiet, log.path) == (False, None)
    with pytest.raises(StudyError, match=r"was made with seed=0, not 1; .*or choose another study,"):
        nas.search("tiny.yaml", "folder:images", study=place / "costs", seed=1, **KEYWORDS)
    command = json.loads((found.path / "provenance.json").read_text())["command"]
    assert command[0].startswith(
        "nas.search(space='tiny.yaml', data='folder:images', objective='macs,params'"
    )


def test_a_study_is_loaded_by_its_folder(found: SearchResult, tmp_path: Path) -> None:
    assert nas.load_study(found.path).best == found.best
    with pytest.raises(StudyError, match="there is no study in"):
        nas.load_study(tmp_path)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"export": True}, "^export exports a retrained design; add retrain 1$"),
        ({"baselines": True}, "^baselines are retrained beside"),
        ({"candidates": 4}, "^candidates are those of which retrain chooses"),
        ({"gate": 0.5}, "^gate judges a supernet, and this search trains none"),
        ({"max_macs": -1}, "^max_macs must be a positive number such as 600M"),
        ({"objective": "macs,top2"}, "^objective: unknown objective 'top2'"),
    ],
)
def test_wrong_requests_are_refused_and_nothing_is_written(
    keywords: dict[str, Any], sentence: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(RequestError, match=sentence):
        nas.search("tiny.yaml", "folder:images", study=tmp_path / "s", **{**KEYWORDS, **keywords})
    assert list(tmp_path.iterdir()) == []


def test_retraining_refuses_what_excludes_one_another(found: SearchResult) -> None:
    with pytest.raises(RequestError, match=r"^top and arch exclude one another"):
        nas.retrain(found, found.best.architecture, top=2)
    with pytest.raises(RequestError, match=r"^from_scratch and inherit exclude"):
        nas.retrain(found, from_scratch=True, inherit=True)
    with pytest.raises(RequestError, match=r"^top must be at least 1, not 0"):
        nas.retrain(found, top=0)
    with pytest.raises(RequestError, match="has no retrained design; run: nas retrain"):
        nas.export(found)


def test_images_and_spaces_by_name(place: Path) -> None:
    data = nas.load_data(f"folder:{place / 'images'}", quiet=True)
    assert (len(data.class_names), data.image_size, data.in_channels) == (3, 16, 3)
    space = nas.load_space(place / "tiny.yaml", image_size=16, num_classes=3)
    assert isinstance(space, nas.Space) and space.num_classes == 3 and space.size == 2940
    with pytest.raises(RequestError, match="data_dir says where timm's data sets lie"):
        nas.load_data("mnist5k", data_dir=place)


@pytest.fixture
def without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A search whose trainings are made up: one design of a halving's candidates went to the end."""
    made = make_study(tmp_path / "made", 16)
    design = made.space().smallest

    def run_search(plan: Any, *arguments: Any) -> list[TrialRecord]:
        plan.study.create(
            plan.settings, plan.dataset_info, plan.declaration, plan.storage_url, [], plan.identity
        )
        trials = made.records()
        plan.study.write_front(trials, made.goal(), pareto_records(trials, made.goal()), 0)
        return pareto_records(trials, made.goal())

    def run_retraining(plan: Any, **arguments: Any) -> list[dict[str, Any]]:
        plan.study.halving_file.write_text(json.dumps(halving_record()))
        write_result(plan.study, design, "scratch", 90.0, 80.0, val_images=500)
        return plan.study.results()  # type: ignore[no-any-return]

    def plan_retraining_after(plan: Any, *arguments: Any, **named: Any) -> Any:
        return type("Plan", (), {"study": plan.study, "spread": ("some",)})

    for name, stub in (
        ("run_search", run_search),
        ("run_retraining", run_retraining),
        ("plan_retraining_after", plan_retraining_after),
        ("write_report", lambda study: None),
    ):
        monkeypatch.setattr(f"nas.api.search.{name}", stub)
    return made


def test_the_command_prints_what_became_of_the_candidates(
    without_training: Study, nas: Nas, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    outcome = nas(
        "search", "--space", "tiny.yaml", "--data", "folder:images", "--budget", "1cpu", "--study",
        tmp_path / "s", "--retrain", 1,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert TITLE in outcome.out and all(name * 12 in outcome.out for name in "abcdef")


def test_what_was_retrained_comes_back_with_its_accuracies(
    without_training: Study, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    result = nas.search(
        "tiny.yaml", "folder:images", budget="1cpu", study=tmp_path / "s", retrain=1, quiet=True
    )
    (one,) = result.retrained
    assert (one.mode, one.validation.top1, one.test.images) == ("scratch", 90.0, 1000)
    assert isinstance(one.architecture, Architecture) and one.digest in repr(one) and "80.0" in repr(one)
    assert "80.0 ± 1.3% scratch" in result._repr_html_() or one.digest not in {d.digest for d in result.front}
