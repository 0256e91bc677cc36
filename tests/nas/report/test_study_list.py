"""Studies in a list: how far each is, also where something of one is damaged; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nas.report.study_list import SETTINGS_ALONE, StudySummary, list_studies
from nas.runtime.files import save_tensors, write_text
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.declaration import parse_declaration
from search_spaces.errors import StudyError
from tests.helpers.command_line import Nas, tree
from tests.helpers.studies import SPACE, make_study


def make_new_study(folder: Path) -> Study:
    study = Study(folder)
    dataset = DatasetInfo("mnist5k", "0" * 64, 8, 1, ("a", "b"), (0.1,), (0.3,))
    study.create(Settings(space="small"), dataset, parse_declaration(SPACE, "s"), study.default_url, [])
    return study


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with studies of every kind below it."""
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path / "studies" / "done", 20)
    make_study(tmp_path / "studies" / "deep" / "begun", 3)
    make_new_study(tmp_path / "studies" / "new [1]")
    checkpoint = make_new_study(tmp_path / "studies" / "training").supernet_file
    save_tensors(checkpoint, {"weight": torch.zeros(1)}, {"step": "3", "total": "12"})
    make_new_study(tmp_path / "studies" / "damaged").space_file.write_text("- no space")
    (tmp_path / "studies" / "link").symlink_to("done")
    write_text(tmp_path / "studies" / "notes" / "NOTES.md", "no study")
    return tmp_path


def by_name(summaries: list[StudySummary]) -> dict[str, StudySummary]:
    return {summary.name: summary for summary in summaries}


def test_each_says_how_far_it_is(place: Path) -> None:
    before = tree(place)
    found = by_name(list_studies([]))
    assert tree(place) == before
    assert {name: each.state for name, each in found.items()} == {
        "done": "finished",
        "begun": "searching 3/?",
        "new [1]": "not begun",
        "training": "training 3/12 steps",
        "damaged": "cannot be read",
    }
    done, study = found["done"], Study(Path("studies/done"))
    identity = study.identity()
    assert identity is not None and done.id == identity.id
    assert (done.evaluated, done.front, done.best) == (
        20,
        len(study.front()),
        study.front()[0]["scores"]["top1"],
    )
    assert (done.space, done.images, done.storage) == ("small", "mnist5k", study.url)
    assert found["damaged"].problem is not None and "space.yaml" in found["damaged"].problem
    assert found["damaged"].id is not None


def test_settings_that_nobody_searched_by_are_no_damaged_study(nas: Nas, place: Path) -> None:
    settings = place / "studies" / "new [1]" / "study.yaml"
    text = settings.read_text().replace("space: small", "space: twins_cswin")
    write_text(place / "studies" / "example" / "study.yaml", text)
    found = by_name(list_studies([]))["example"]
    assert (found.state, found.images, found.problem) == (SETTINGS_ALONE, "mnist5k", None)
    assert "studies/example: settings alone" in nas("studies").out
    outcome = nas("report", "studies/example")
    assert outcome.code == 2
    assert "nas search --config studies/example/study.yaml begins a study of them" in outcome.err
    # What a study has lost is said as it was.
    (place / "studies" / "new [1]" / "data.json").unlink()
    lost = by_name(list_studies([]))["new [1]"]
    assert lost.state != SETTINGS_ALONE
    with pytest.raises(StudyError, match=r"data\.json"):
        Study(Path("studies/new [1]")).dataset()


def test_whatever_names_studies(place: Path) -> None:
    assert set(by_name(list_studies(["done", "studies/link", "studies/deep"]))) == {"done", "begun"}
    with pytest.raises(StudyError, match=r"there is no study in studies/notes; give a study, or a folder"):
        list_studies(["studies/notes"])


def test_the_command_prints_both_ways(nas: Nas, place: Path) -> None:
    outcome = nas("studies")
    assert outcome.code == 0, outcome.err
    assert "studies/new [1]: not begun\n" in outcome.out and "studies/done: finished\n" in outcome.out
    listed = json.loads(nas("studies", "studies", "--json").out)
    assert {each["name"] for each in listed} == {"done", "begun", "new [1]", "training", "damaged"}


def test_no_studies_at_all(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = nas("studies")
    assert (outcome.code, list(tmp_path.iterdir())) == (0, []) and "there are no studies" in outcome.out
    assert json.loads(nas("studies", "--json").out) == []
