"""``nas data`` says how a set is read and names every broken file; ``--skip-broken`` goes on without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import Nas, paint_folder, tree


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A set with twelve broken files, some of which only decoding finds."""
    root = paint_folder(tmp_path / "set" / "Training")
    paint_folder(tmp_path / "set" / "Testing", images=3)
    for number in range(11):
        (root / "class1" / f"x{number:02}.png").write_bytes(b"no image")
    whole = (root / "class0" / "00.png").read_bytes()
    (root / "class0" / "00.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "set"


def test_a_usable_set(nas: Nas, images: Path, tmp_path: Path) -> None:
    before = tree(images)
    outcome = nas("data", f"folder:{images}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "27 to train, 3 to validate, 3 classes, 3x16x16, files of 16 px (36 RGB)" in outcome.out
    assert "class     class1: 12 images" in outcome.out
    assert "noise     on 3 validation images" in outcome.out
    assert tree(images) == before


def test_every_broken_file_is_listed(nas: Nas, broken: Path) -> None:
    outcome = nas("data", f"folder:{broken}")
    assert outcome.code == 2
    assert outcome.out.count("unreadable") == 12
    assert "12 images cannot be decoded" in outcome.err and "and 2 more" in outcome.err
    assert outcome.err.count("\n") == 1
    assert nas("data", f"folder:{broken}", "--skip-broken").code == 0


def test_json_holds_the_broken_files(nas: Nas, broken: Path) -> None:
    outcome = nas("data", f"folder:{broken}", "--json", "--image-size", "32")
    assert outcome.code == 2
    content = json.loads(outcome.out)
    assert len(content["broken"]) == 12
    assert content["image_size"] == 32
    assert content["layout"] == ["train: Training/ (3 classes)", "test: Testing/ (3 classes)"]


def test_a_search_goes_on_without_broken_files_if_it_is_told_to(
    nas: Nas, broken: Path, space_file: Path, tmp_path: Path
) -> None:
    command = (
        "search",
        "--space",
        space_file,
        "--data",
        f"folder:{broken}",
        "--study",
        tmp_path / "study",
        "--dry-run",
    )
    outcome = nas(*command)
    assert outcome.code == 2 and "11 images cannot be decoded" in outcome.err  # by their headers alone
    outcome = nas(*command, "--skip-broken", "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)["images"]["broken"]) == 12
    assert "broken    12 files are left out" in outcome.err
    assert "train: Training/" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist5k", "--data-dir", "x"), "leave it out"),
        (("mnist5k", "--image-size", "4"), "at least 8"),
        (("folder:",), "names no folder"),
        (("nowhere",), "unknown --data"),
    ],
)
def test_what_cannot_be_read(nas: Nas, arguments: tuple[str, ...], message: str) -> None:
    outcome = nas("data", *arguments)
    assert outcome.code == 2
    assert message in outcome.err and outcome.err.count("\n") == 1
