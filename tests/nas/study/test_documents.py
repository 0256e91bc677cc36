"""What a file names and what becomes a path: digests, modes and names of files are nothing but that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nas.study.folder import Study
from search_spaces.errors import StudyError
from tests.helpers.command_line import Nas, tree

OLD_STUDY = Path(__file__).parents[2] / "golden" / "old_study"
RESULT = "retrained/ce7caaf679bc/scratch/result.json"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return shutil.copytree(OLD_STUDY, tmp_path / "deep" / "study")


@pytest.mark.parametrize(
    "value", ["../../../x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "a\n", "A" * 300, "ä", 7, None]
)
@pytest.mark.parametrize("key", ["digest", "mode", "weights"])
def test_what_becomes_a_path_is_one_name(study: Path, key: str, value: object) -> None:
    content = json.loads((study / RESULT).read_text())
    assert Study.read_result(study / RESULT)[key] == content[key]
    (study / RESULT).write_text(json.dumps({**content, key: value}))
    with pytest.raises(StudyError, match=f"result.json: '{key}'"):
        Study.read_result(study / RESULT)


def test_an_export_is_written_nowhere_else(nas: Nas, study: Path, tmp_path: Path) -> None:
    content = json.loads((study / RESULT).read_text())
    (study / RESULT).write_text(json.dumps({**content, "digest": "../../../planted", "val_top1": 100.0}))
    before = tree(tmp_path)
    outcome = nas("export", study, "--format", "source")
    assert outcome.code == 2 and "'digest'" in outcome.err
    assert tree(tmp_path) == before


def test_front_and_halving_hold_digests_too(study: Path) -> None:
    content = json.loads((study / "front.json").read_text())
    content["front"][0]["digest"] = "../x"
    (study / "front.json").write_text(json.dumps(content))
    with pytest.raises(StudyError, match=r"front\.0\.digest"):
        Study(study).front()
