"""A study's folder: reading it writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.report.findings import read_findings
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.declaration import parse_declaration
from tests.helpers.command_line import TINY_SPACE, tree


def test_reading_a_study_whose_search_has_not_begun_writes_nothing(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    dataset = DatasetInfo("folder:set", "0" * 64, 16, 3, ("a", "b", "c"), (0.1,) * 3, (0.3,) * 3)
    settings = Settings(space="tiny.yaml", data="folder:set")
    study.create(settings, dataset, parse_declaration(TINY_SPACE, "tiny.yaml"), study.default_url, [])
    before = tree(study.folder)
    # The file that declared the space is nowhere to be found, but its copy is.
    assert study.settings() == replace(settings, space=str(study.space_file))
    assert (study.dataset(), study.space().name) == (dataset, "tiny")
    assert (study.records(), study.results(), study.find_store()) == ([], [], None)
    assert read_findings(study).times == []
    assert tree(study.folder) == before
