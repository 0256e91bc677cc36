"""A folder as ImageNet's: who is trained on, compared on and tested on, file by file."""

from __future__ import annotations

from pathlib import Path

from nas.data.dataset import survey_data
from tests.helpers.image_folders import paint_classes


def test_train_and_val_by_hand(tmp_path: Path) -> None:
    # Names sort otherwise than they are made, and val lacks a class.
    paint_classes(tmp_path / "set" / "train", {"owl": 20, "cat": 10, "dog": 10})
    paint_classes(tmp_path / "set" / "val", {"dog": 3, "owl": 2}, first=100)
    survey = survey_data(f"folder:{tmp_path / 'set'}", cache_dir=tmp_path / "cache")
    source = survey.source
    assert source.class_names == ("cat", "dog", "owl")
    files = [Path(source.images.describe(index)) for index in range(len(source.labels))]
    for file, label in zip(files, source.labels, strict=True):
        assert label == {"cat": 0, "dog": 1, "owl": 2}[file.parent.name]

    def members(split: str) -> list[str]:
        return sorted("/".join(files[index].parts[-3:-1]) for index in survey.indices[split])  # type: ignore[index]

    # The official val is the test, whole; a tenth of each class of train is compared on, the rest is trained on.
    assert members("test") == ["val/dog"] * 3 + ["val/owl"] * 2
    assert members("val") == ["train/cat", "train/dog", "train/owl", "train/owl"]
    assert members("train") == ["train/cat"] * 9 + ["train/dog"] * 9 + ["train/owl"] * 18
    assert "the val part is kept for the final test" in " ".join(survey.summary.lines())
