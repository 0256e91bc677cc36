"""Which result is exported and where to; what an interrupted command says."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.pipeline.exports import find_best_result, require_export_folder
from nas.pipeline.resumable import resumable
from nas.runtime.files import write_text
from nas.runtime.interrupt import Interrupted
from nas.study.folder import Study
from search_spaces.errors import RequestError
from tests.helpers.designs import DEEP, FLAT
from tests.helpers.studies import write_result

ONE, OTHER = DEEP, FLAT


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of which three retrainings are finished."""
    study = Study(tmp_path / "study")
    write_text(study.settings_file, "seed: 0\n")
    write_result(study, ONE, "scratch", 90.0, 0.0)
    write_result(study, ONE, "inherit", 91.0, 0.0)
    write_result(study, OTHER, "scratch", 92.0, 0.0)
    return study


def test_the_best_result_is_that_of_the_validation_images(study: Study) -> None:
    assert find_best_result(study)["digest"] == OTHER.digest
    assert find_best_result(study, ONE.digest)["mode"] == "inherit"
    with pytest.raises(
        RequestError, match=r"has no retrained design 'ccc'; run: nas retrain .*study --arch ccc$"
    ):
        find_best_result(study, "ccc")


def test_an_export_replaces_nothing_but_an_export(tmp_path: Path) -> None:
    require_export_folder(tmp_path / "new" / "folder")
    write_text(tmp_path / "own" / "notes.txt", "mine")
    with pytest.raises(RequestError, match="own is not empty and holds no export"):
        require_export_folder(tmp_path / "own")
    write_text(tmp_path / "own" / "verification.json", "{}")
    require_export_folder(tmp_path / "own")


def test_an_interrupted_command_names_the_line_that_resumes_it() -> None:
    with (
        pytest.raises(Interrupted, match=r"resume with: nas search --data 'folder:my images'$"),
        resumable(["nas", "search", "--data", "folder:my images"]),
    ):
        raise Interrupted("interrupted")
    with pytest.raises(RequestError, match=r"^else$"), resumable(["nas"]):
        raise RequestError("else")
