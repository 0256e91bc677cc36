"""Several studies side by side: what can be compared is, what cannot is refused or said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.comparison_page import write_comparison
from nas.report.hypervolume import compute_in_common_box
from nas.report.study_comparison import compare_studies
from nas.runtime.files import write_json
from nas.search.pareto import dominates
from nas.study.folder import Study
from search_spaces.errors import RequestError
from tests.helpers.browser import file_address, visiting
from tests.helpers.command_line import Nas
from tests.helpers.studies import make_study, unseen_trials, write_result


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    """Return a study of 12 designs and one of 6, which is better: it has designs of high accuracy."""
    folder = tmp_path_factory.mktemp("compared")
    one, other = make_study(folder / "one", 12), make_study(folder / "other", 6, batch=4)
    better = [
        replace(trial, scores={**trial.scores, "top1": 99.0 + at / 10}, images=500, correct=None)
        for at, trial in enumerate(unseen_trials(other, 2, batch=7))
    ]
    other.open_store().add(better)
    other.write_front(other.records(), other.goal(), other.records()[:1], 0)
    write_result(one, one.records()[0].architecture, "scratch", 95.0, 94.0, val_images=500)
    return one, other


def test_hypervolumes_are_shares_of_one_box() -> None:
    # Costs to minimise in the box from (0, 0) to (4, 2): the first takes 4 of its 8, the second 3, then 6.
    first, second = compute_in_common_box(
        [[(0, 1), (4, 2)], [(1, 1), (2, 0), (1, 0)]], ("minimize", "minimize")
    )
    assert first == pytest.approx([50.0, 50.0])
    assert second == pytest.approx([37.5, 62.5, 75.0])


def test_fronts_ties_and_settings(studies: tuple[Study, Study]) -> None:
    comparison = compare_studies(studies)
    one, other = comparison.studies
    assert (comparison.gain, comparison.cost, one.name, other.name) == ("top1", "macs", "one", "other")
    for study in comparison.studies:
        values = [[trial.scores["top1"], trial.scores["macs"]] for trial in study.findings.measured]
        expected = [
            each
            for each in values
            if not any(dominates(rival, each, comparison.directions) for rival in values)
        ]
        shown = [[trial.scores["top1"], trial.scores["macs"]] for trial in study.front]
        assert sorted(shown) == sorted(expected)
    assert one.hypervolume is not None and other.hypervolume is not None
    assert comparison.tied_with_best == {"one": False, "other": True}
    assert comparison.settings() == {"batch": ["8", "4"]}
    assert any("its own supernet" in note or "own supernet" in note for note in comparison.notes)


def test_the_page_in_a_browser(studies: tuple[Study, Study], tmp_path: Path) -> None:
    write_comparison(compare_studies(studies), tmp_path / "page.html")
    for width, scheme in ((1280, "dark"), (390, "light")):
        with visiting(file_address(tmp_path / "page.html"), width, scheme) as visit:
            assert [each.inner_text() for each in visit.page.locator("h2").all()][:3] == [
                "Fronts",
                "Budgets and results",
                "Retrained designs",
            ]
            assert (visit.overlapping(), visit.complaints, visit.requests) == ([], [], [])
            assert visit.sideways() <= 0


def test_further_objectives_are_left_out_and_said(studies: tuple[Study, Study], tmp_path: Path) -> None:
    third = make_study(tmp_path / "third", 6, "top1,macs,latency_ms", max_macs="19k")
    comparison = compare_studies([studies[0], third])
    assert (comparison.gain, comparison.cost) == ("top1", "macs")
    text = " ".join(comparison.notes)
    assert (
        "third was also searched for latency_ms" in text and "third kept limits (macs at most 19000)" in text
    )
    assert all(len(trial.scores) and trial.measured for trial in comparison.studies[1].front)


def test_what_cannot_be_compared_is_refused(studies: tuple[Study, Study], tmp_path: Path) -> None:
    cheap = make_study(tmp_path / "cheap", 6, "params")
    with pytest.raises(RequestError, match=r"no objective in common .*one: top1, macs; cheap: params"):
        compare_studies([studies[0], cheap])
    with pytest.raises(RequestError, match="is given twice"):
        compare_studies([studies[0], Study(studies[0].folder)])
    with pytest.raises(RequestError, match="study empty has no evaluated design yet"):
        compare_studies([studies[0], make_study(tmp_path / "empty", 0)])
    elsewhere = make_study(tmp_path / "elsewhere", 6)
    about = json.loads(elsewhere.dataset_file.read_text())
    write_json(elsewhere.dataset_file, {**about, "digest": "1" * 64})
    with pytest.raises(RequestError, match="studies one and elsewhere are of other images"):
        compare_studies([studies[0], elsewhere])


def test_the_command(nas: Nas, studies: tuple[Study, Study], tmp_path: Path) -> None:
    folders = [str(study.folder) for study in studies]
    refused = nas("report", *folders)
    assert refused.code == 2 and "say with --out where to write it" in refused.err
    done = nas("report", *folders, "--out", str(tmp_path / "new" / "page.html"), "--json")
    assert done.code == 0
    content = json.loads(done.out)
    assert [each["name"] for each in content["studies"]] == ["one", "other"]
    assert "studies side by side" in (tmp_path / "new" / "page.html").read_text()
    lone = nas("report", folders[0], "--out", str(tmp_path / "lone.html"))
    assert lone.code == 2 and not (tmp_path / "lone.html").exists()
