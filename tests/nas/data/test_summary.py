"""What was read of a set is said in full, and survives JSON."""

from __future__ import annotations

import json
from pathlib import Path

from nas.data.dataset import Data, load_data
from nas.data.summary import DataSummary
from tests.helpers.exports import smooth_image
from tests.helpers.image_folders import paint_classes


def load(root: Path, tmp_path: Path) -> DataSummary:
    return load_data(f"folder:{root}", cache_dir=tmp_path / "cache").summary


def test_the_digits_are_said_without_a_warning(digits: Data) -> None:
    summary = digits.summary
    assert (summary.splits, summary.warnings) == ({"train": 3500, "val": 500, "test": 1000}, ())
    assert summary.lines() == ["classes   10, of 500 (0) to 500 images each; 1000 images to test"]


def test_json_holds_everything(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set" / "train", {"a": 12, "b": 9})
    (root / "a" / "x.txt").write_text("")
    summary = load(root.parent, tmp_path)
    content = json.loads(json.dumps(summary.to_json()))
    assert DataSummary.from_json(content) == summary
    assert content["classes"] == {"a": 12, "b": 9}
    assert content["skipped"] == {".txt": 1}
    assert content["layout"] == ["train: train/ (2 classes)"]


def test_small_unlike_and_absent_classes_are_warned_of(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", {"a": 100, "b": 5, "A": 5})
    paint_classes(tmp_path / "val", {"a": 20}, first=120)
    paint_classes(tmp_path / "test", {"a": 20, "b": 5, "A": 5}, first=150)
    summary = load(tmp_path, tmp_path.parent / "cache-of-warnings")
    assert summary.warnings == (
        "no val image of 2 classes: A, b",
        "the largest class has 14 times the images of the smallest; a high accuracy may hide a class that is never "
        "found",
        "classes 'A' and 'a' differ in case alone",
    )
    assert summary.lines()[3] == "classes   3, of 10 (A) to 140 images each; 30 images to test"


def test_small_files_of_several_sizes_are_said_to_be_enlarged(tmp_path: Path) -> None:
    """Only files of one size keep it; these become 224 px."""
    for number in range(12):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        smooth_image(*((40, 30) if number < 6 else (30, 40)), seed=number).save(folder / f"{number}.png")
    (warning,) = load(tmp_path / "set", tmp_path).warnings
    assert "files of at most 40 px are enlarged to 224" in warning and "--image-size" in warning
    data = load_data(f"folder:{tmp_path / 'set'}", cache_dir=tmp_path / "cache", image_size=40)
    assert data.summary.warnings == ()
