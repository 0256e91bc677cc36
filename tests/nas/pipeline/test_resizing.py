"""Images that no scale is meant for: to what side they are resized, how the plan says so, and that it stays so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from nas.pipeline.images import load_study_data, side_within_scales
from nas.study.folder import Study
from search_spaces.declaration import load_declaration, parse_declaration
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

#: One scale, for images of 16-18 px; and the same beside another for far larger ones.
ONE = TINY_SPACE.replace("images: [16, 32]", "images: [16, 18]")
TWO = ONE + ONE[ONE.index("  nano:") :].replace("nano", "large").replace("[16, 18]", "[300, 320]")
#: A search of that one scale in a study of its own.
SEARCH = "search --space one.yaml --data folder:images --objective macs,params --study ./s".split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "one.yaml").write_text(ONE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(nas: Nas, space: str, *more: str) -> dict[str, Any]:
    arguments = (
        "--space",
        space,
        "--data",
        "folder:images",
        "--objective",
        "macs,params",
        "--budget",
        "1cpu,4trials",
    )
    outcome = nas("search", *arguments, "--dry-run", "--json", *more)
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    resized = found["images"]["resized"]
    assert ([f"resized   {resized}"] if resized else []) == [
        line for line in found["lines"] if line.startswith("resized")
    ]
    return found


@pytest.mark.parametrize(
    ("space", "own", "side", "scale", "said"),
    [
        (
            "twins_cswin",
            20,
            28,
            "nano",
            "20x20 px are resized to 28x28: no scale of 'twins_cswin' is meant for 20 px",
        ),
        ("twins_cswin", 28, 28, "nano", None),
        ("twins_cswin", 96, 96, "micro", None),
        ("local_vit_ablation", 96, 96, "micro", None),
        ("refiner_vit", 96, 96, "micro", None),
        (
            "twins_cswin",
            400,
            224,
            "tiny",
            "400x400 px are resized to 224x224, as large ones are where no --image-size is",
        ),
        ("one.yaml", 20, 18, "nano", "20x20 px are resized to 18x18: no scale of 'tiny' is meant for 20 px"),
        ("one.yaml", 9, 16, "nano", "9x9 px are resized to 16x16: no scale of 'tiny' is meant for 9 px"),
        (
            "one.yaml",
            400,
            18,
            "nano",
            "400x400 px are resized to 18x18: no scale of 'tiny' is meant for 400 px",
        ),
    ],
)
def test_the_plan_says_to_what_images_are_resized(
    nas: Nas, folder: Path, space: str, own: int, side: int, scale: str, said: str | None
) -> None:
    paint_folder(folder / "images", images=4, side=own)
    found = plan(nas, space)
    assert (found["images"]["image_size"], found["images"]["own_side"]) == (side, own)
    assert found["space"]["scale"] == scale
    if said is None:
        assert found["images"]["resized"] is None
    else:
        assert found["images"]["resized"].startswith(f"images of {said}")


def test_images_of_several_sizes(nas: Nas, folder: Path) -> None:
    paint_folder(folder / "images", images=4, side=20)
    Image.new("RGB", (24, 18)).save(folder / "images" / "class0" / "other.png")
    found = plan(nas, "one.yaml")
    assert found["images"]["image_size"] == 18 and found["images"]["own_side"] is None
    assert found["images"]["resized"] == (
        "images of several sizes are resized to 18x18: no scale of 'tiny' is meant for 224 px"
    )
    assert plan(nas, "twins_cswin")["images"]["resized"] is None  # 224 px, as ever


def test_what_the_user_says_is_left_alone(nas: Nas, folder: Path) -> None:
    paint_folder(folder / "images", images=4, side=20)
    asked = plan(nas, "one.yaml", "--image-size", "17")
    assert (asked["images"]["image_size"], asked["images"]["resized"]) == (17, None)
    assert plan(nas, "one.yaml", "--scale", "nano")["images"]["image_size"] == 20
    assert plan(nas, "one.yaml", "--scale", "nano", "--image-size", "24")["images"]["image_size"] == 24
    refused = nas(
        "search", "--space", "one.yaml", "--data", "folder:images", "--image-size", "20", "--dry-run"
    )
    assert refused.code == 2
    assert "no scale is meant for images of 20 px (nano 16-18 px)" in refused.err


def test_a_study_keeps_the_side(nas: Nas, folder: Path) -> None:
    """Its later commands read settings alone, and the images must be those that it searched with."""
    paint_folder(folder / "images", images=4, side=20)
    outcome = nas(*SEARCH, "--budget", "1cpu,2trials")
    assert outcome.code == 0, outcome.err
    study = Study(folder / "s")
    assert yaml.safe_load(study.settings_file.read_text())["image_size"] == 18
    assert load_study_data(study.settings(), study).image_size == study.dataset().image_size == 18
    again = nas(*SEARCH, "--budget", "1cpu,4trials")
    assert again.code == 0, again.err
    assert "resized   images of 20x20 px are resized to 18x18" in again.err


def test_a_study_of_images_that_a_scale_is_meant_for_stores_no_side(nas: Nas, folder: Path) -> None:
    paint_folder(folder / "images", images=4, side=17)
    assert nas(*SEARCH, "--budget", "1cpu,2trials").code == 0
    assert yaml.safe_load((folder / "s" / "study.yaml").read_text())["image_size"] is None


def test_sides_by_hand() -> None:
    choose = side_within_scales(parse_declaration(TWO, "two.yaml"))
    sides = {
        (own, usual): choose(own, usual) for own, usual in ((20, 20), (400, 224), (310, 224), (None, 224))
    }
    # 310 px suit a scale as they are; of 224 px, 300 is nearer than 18.
    assert sides == {(20, 20): 18, (400, 224): 320, (310, 224): 310, (None, 224): 300}
    named = side_within_scales(load_declaration("twins_cswin"))
    assert [named(own, 224) for own in (97, 128, 400, 1000, None)] == [224] * 5
