"""Layouts: parts under any usual name, classes, and what could be either."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.dataset import Data, load_data
from nas.data.sources.layout import find_layout
from nas.data.sources.part_names import role_of
from search_spaces.errors import DataError
from tests.helpers.image_folders import paint, paint_classes

NAMES = {
    "train": (
        "train",
        "training",
        "trn",
        "trainset",
        "train_images",
        "training set",
        "train-data",
        "train2017",
    ),
    "val": ("val", "valid", "validation", "dev", "eval", "val_images", "validset", "val2017", "evaluation"),
    "test": ("test", "testing", "tst", "test_set", "testdata", "test images", "test-2"),
}
PETS = {"cat": 12, "dog": 12, "owl": 12}


def spell(name: str, how: int) -> str:
    return (name.lower(), name.upper(), name.title(), name.swapcase().capitalize())[how]


@given(st.sampled_from(sorted(NAMES)), st.data(), st.integers(0, 3))
def test_usual_names_of_parts_are_known_in_any_spelling(role: str, data: st.DataObject, how: int) -> None:
    name = data.draw(st.sampled_from(NAMES[role]))
    assert role_of(spell(name, how)) == role


@pytest.mark.parametrize(
    "name",
    ["trainer", "cat", "trains", "contest", "latest", "valley", "devil", "train_cat", "images", "7", "tram"],
)
def test_other_names_are_no_parts(name: str) -> None:
    assert role_of(name) is None


def test_words_that_all_folders_share_say_nothing() -> None:
    intel = ["seg_train", "seg_test", "seg_pred"]
    assert [role_of(name, intel) for name in intel] == ["train", "test", "unlabelled"]
    imagenet = ["ILSVRC2012_img_train", "ILSVRC2012_img_val"]
    assert [role_of(name, imagenet) for name in imagenet] == ["train", "val"]
    classes = ["train_electric", "train_steam"]
    assert [role_of(name, classes) for name in classes] == [None, None]


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.val), len(data.final_test())


def load(root: Path, tmp_path: Path) -> Data:
    return load_data(f"folder:{root}", cache_dir=tmp_path / "cache")


def paint_parts(root: Path, **parts: dict[str, int]) -> Path:
    for number, (part, counts) in enumerate(parts.items()):
        paint_classes(root / part, counts, first=60 * number)
    return root


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("Training", "Testing"), (33, 3, 36)),
        (("Train", "Val", "Test"), (36, 36, 36)),
        (("TRN", "DEV", "TST"), (36, 36, 36)),
        (("train", "val"), (33, 3, 36)),  # as ImageNet: val is the test, nothing of train is lost to a test
        (("train_images", "test_images"), (33, 3, 36)),
        (("seg_train", "seg_test"), (33, 3, 36)),
        (("train",), (27, 3, 6)),
    ],
)
def test_parts_are_found_and_said(
    tmp_path: Path, parts: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    data = load(paint_parts(tmp_path / "set", **dict.fromkeys(parts, PETS)), tmp_path)
    assert data.class_names == ("cat", "dog", "owl")
    assert sizes(data) == expected
    said = " ".join(data.summary.lines())
    assert all(f"{part}/" in said for part in parts)
    assert ("val part is kept for the final test" in said) == (parts == ("train", "val"))


@pytest.mark.parametrize(
    ("inside", "parts"),
    [
        ("flowers", ("train", "test")),
        ("ILSVRC/Data/CLS-LOC", ("train", "val")),
        ("x/y", ("",)),
        ("set", ("train",)),
    ],
)
def test_folders_around_the_parts_are_opened(tmp_path: Path, inside: str, parts: tuple[str, ...]) -> None:
    root = tmp_path / "root"
    paint_parts(root / inside, **dict.fromkeys(parts, PETS))
    (root / "__MACOSX" / "train").mkdir(parents=True)
    paint(root / ".hidden" / "a" / "1.png", 1)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "1.xml").write_text("<x/>")
    data = load(root, tmp_path)
    assert data.class_names == ("cat", "dog", "owl")
    assert f"read from {inside}" in " ".join(data.summary.notes)
    assert "Annotations/ holds no images and is passed over" in data.summary.notes


def test_doubled_and_unlabelled_parts(tmp_path: Path) -> None:
    root = tmp_path / "intel"
    paint_classes(root / "seg_train" / "seg_train", PETS)
    paint_classes(root / "seg_test" / "seg_test", PETS, first=100)
    paint(root / "seg_pred" / "seg_pred" / "1.png", 250)
    data = load(root, tmp_path)
    assert sizes(data) == (33, 3, 36)
    assert "seg_pred/ is not labelled and is passed over" in data.summary.notes


@pytest.mark.parametrize("folder", ["test", "test/images", "test/unknown"])
def test_a_test_part_of_loose_files_is_passed_over_and_said(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "flat"
    paint_classes(root / "train", PETS)
    for number in range(10):
        paint(root / folder / f"{number}.png", 100 + number)
    data = load(root, tmp_path)
    assert sizes(data) == (27, 3, 6)
    assert "test/ holds no class folders; 10 files there are not used" in data.summary.notes


@pytest.mark.parametrize("name", ["train", "test", "Validation"])
def test_a_class_may_be_named_like_a_part(tmp_path: Path, name: str) -> None:
    root = paint_classes(tmp_path / "vehicles", {name: 8, "bus": 8, "car": 8})
    data = load(root, tmp_path)
    assert set(data.class_names) == {name, "bus", "car"}
    assert f"{name}/ is read as a class, since classes lie beside it" in data.summary.notes


def val_and_test(root: Path) -> None:
    paint_parts(root, val=PETS, test=PETS)


def only_test(root: Path) -> None:
    paint_parts(root, test=PETS)


def train_with_loose_images(root: Path) -> None:
    paint_classes(root, {"train": 9, "test": 9})


def parts_and_classes(root: Path) -> None:
    paint_parts(root, train=PETS, test=PETS)
    paint_classes(root, {"cow": 4}, first=200)


def one_part_and_classes(root: Path) -> None:
    paint_parts(root, Train=PETS)
    paint_classes(root, {"cow": 4}, first=200)


def two_loose_parts_and_classes(root: Path) -> None:
    paint_classes(root, {"train": 4, "test": 4, "cow": 4})


def two_training_parts(root: Path) -> None:
    paint_parts(root, train=PETS, Training=PETS)


def val_and_validation(root: Path) -> None:
    paint_parts(root, train=PETS, val=PETS, validation=PETS)


def folds(root: Path) -> None:
    paint_parts(root, fold1=PETS, fold2=PETS)


def parts_within_classes(root: Path) -> None:
    paint_parts(root / "cat", train={"": 4}, test={"": 4})
    paint_parts(root / "dog", train={"": 4}, test={"": 4})


def other_case(root: Path) -> None:
    paint_parts(root, train=PETS, test={"Cat": 4, "dog": 4})


def other_names(root: Path) -> None:
    paint_parts(root, train=PETS, val={"cats": 4, "dogs": 4})


def empty_part(root: Path) -> None:
    paint_parts(root, test=PETS)
    (root / "train").mkdir()


def a_name_that_is_not_utf8(root: Path) -> None:
    paint_classes(root, {"a": 4, os.fsdecode(b"caf\xe9"): 4})


def a_name_of_two_lines(root: Path) -> None:
    paint_classes(root, {"a": 4, "b\nc": 4})


def one_name_in_two_compositions(root: Path) -> None:
    paint_classes(root, {"caf\u00e9": 4, "cafe\u0301": 4})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (val_and_test, r"test/ and val/ but no training part"),
        (only_test, r"test/ but no training part"),
        (train_with_loose_images, r"train holds no class folders \(9 images lie in it directly\)"),
        (parts_and_classes, r"test/ and train/ in .* look like parts of the set but cow/ beside them"),
        (one_part_and_classes, r"Train/ in .* look like parts of the set but cow/"),
        (two_loose_parts_and_classes, r"test/ and train/ in .* look like parts of the set but cow/"),
        (two_training_parts, r"Training/ and train/ in .* both named like the train part"),
        (val_and_validation, r"val/ and validation/ in .* both named like the val part"),
        (folds, r"fold1/ and fold2/ in .* look like parts .* none is the training part"),
        (
            parts_within_classes,
            r"cat holds test/ and train/, which look like parts of the set within a class",
        ),
        (other_case, r"test/Cat is a class that the training images lack.*did you mean 'cat'"),
        (other_names, r"val/cats is a class that the training images lack.*did you mean 'cat'"),
        (empty_part, r"train holds no class folders \(0 images"),
        (a_name_that_is_not_utf8, r"caf\\xe9 is not UTF-8"),
        (a_name_of_two_lines, r"b\\nc is not UTF-8 or cannot be printed"),
        (one_name_in_two_compositions, "two folders in .* are called"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        load(root, tmp_path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_composed_and_decomposed_names_of_one_class_are_the_same(tmp_path: Path) -> None:
    paint_classes(tmp_path / "set" / "train", {"caf\u00e9": 12, "tea": 12})
    paint_classes(tmp_path / "set" / "test", {"cafe\u0301": 5, "tea": 5}, first=100)
    data = load(tmp_path / "set", tmp_path)
    assert data.class_names == ("caf\u00e9", "tea")
    assert len(data.final_test()) == 10


def test_other_files_nested_folders_and_circles_are_counted(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 8, "b": 8})
    paint(root / "a" / "deep" / "er" / "x.PNG", 100)
    (root / "a" / "loop").symlink_to(root)
    (root / "b" / "notes.txt").write_text("x")
    (root / "b" / "x.avif").write_bytes(b"x")
    (root / "b" / "y.HEIC").write_bytes(b"x")
    (root / "b" / "README").write_text("x")
    for name in (".DS_Store", "Thumbs.db"):
        (root / "b" / name).write_bytes(b"x")
    paint(root / "b" / "__MACOSX" / "._1.png", 3)
    paint(root / "beside.png", 4)
    data = load(root, tmp_path)
    assert data.summary.classes == {"a": 9, "b": 8}
    assert data.summary.skipped == {
        "hidden": 3,
        "links to folders read already": 1,
        ".txt": 1,
        ".avif": 1,
        ".heic": 1,
        "no ending": 1,
        "beside the class folders": 1,
    }
    assert "images in folders within class folders, which count to the class above: 1" in data.summary.notes


def test_layout_of_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = paint_classes(tmp_path / "set", {"a": 4, "b": 4}), os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"set/b cannot be read \(Permission denied\)"):
        find_layout(root)
