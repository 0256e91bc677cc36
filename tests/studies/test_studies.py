"""Committed studies: complete settings under a comment that says the command, what it costs and what it reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.study.settings import read_settings
from tests.docs.documents import parse_command

STUDIES = Path(__file__).parents[2] / "studies"
FILES = sorted(STUDIES.glob("*/study.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_study_opens_with_its_command_cost_and_result(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0].startswith("# ")
    for word in (
        f"# Command: nas search --config studies/{file.parent.name}/study.yaml",
        "# Costs: ",
        "# Reaches: ",
    ):
        assert word in comment
    parse_command(comment.partition("# Command: ")[2].splitlines()[0].split())
    assert "seed" in comment.partition("# Reaches: ")[2]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_study_states_every_setting(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    assert read_settings(file).to_yaml() == "".join(line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_study_has_notes_and_results(file: Path) -> None:
    assert (file.parent / "NOTES.md").is_file()
    assert (file.parent / "results" / "provenance.json").is_file()
