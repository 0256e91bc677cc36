"""The plan says what its validation images can tell apart, and warns of few."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A search of a tiny space, whose validation images are few."""
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    monkeypatch.chdir(tmp_path)
    return (
        "search",
        "--space",
        "tiny.yaml",
        "--data",
        "folder:images",
        "--budget",
        "1cpu",
        "--dry-run",
        "--json",
    )


def test_a_plan_says_what_its_images_can_tell_apart(nas: Nas, arguments: tuple[str, ...]) -> None:
    outcome = nas(*arguments)
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)
    images = plan["images"]["scored"]
    assert images == plan["images"]["val"] < 100
    (line,) = (line for line in plan["lines"] if line.startswith("noise"))
    assert line.startswith(
        f"noise     on {images} validation images an accuracy of 90% has a standard error of "
    )
    assert any(warning.startswith(f"{images} validation images are few") for warning in plan["warnings"])
    assert line in outcome.err


def test_it_counts_the_images_that_designs_are_scored_on(nas: Nas, arguments: tuple[str, ...]) -> None:
    plan = json.loads(nas(*arguments, "--validation-images", "5").out)
    assert plan["images"]["scored"] == 5
    assert any("no two designs can be told apart" in line for line in plan["lines"])


def test_a_search_without_accuracy_knows_no_noise(nas: Nas, arguments: tuple[str, ...]) -> None:
    plan = json.loads(nas(*arguments, "--objective", "macs,params").out)
    assert plan["images"]["scored"] is None
    assert not any("noise" in line or "few" in line for line in (*plan["lines"], *plan["warnings"]))
