"""Images are known by their content: names and places decide nothing, and no picture is in two splits."""

from __future__ import annotations

import json
import os
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data import inspection
from nas.data.dataset import Data, load_data
from nas.data.inspection import content_digest, inspect_file
from nas.data.partition import split_indices
from nas.data.reading import FIRST_READING
from nas.data.sources.source import Source, SourceReport
from search_spaces.errors import DataError
from tests.helpers.image_folders import paint, paint_classes, read_all


def load(root: Path, tmp_path: Path, **how: object) -> Data:
    return load_data(f"folder:{root}", cache_dir=tmp_path / "cache", **how)  # type: ignore[arg-type]


def splits(data: Data) -> list[torch.Tensor]:
    """What networks get to see, in order."""
    return [tensor for split in (data.train, data.val, data.final_test()) for tensor in read_all(split)]


def test_names_and_places_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = paint_classes(tmp_path / "set", {"a": 20, "b": 20})
    before = load(root, tmp_path)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(root, copy)
    for number, path in enumerate(sorted((copy / "a").iterdir(), reverse=True)):
        path.rename(path.with_name(f"renamed{number}.png"))
    (tmp_path / "link").symlink_to(copy)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for spec in (
        f"folder:{copy}",
        "folder:copy/",
        "folder:./copy",
        "folder:../link",
        "folder:../elsewhere//copy",
    ):
        after = load_data(spec, cache_dir=tmp_path / "cache")
        assert after.digest == before.digest
        assert all(map(torch.equal, splits(after), splits(before)))


@pytest.mark.parametrize("change", ["pixel", "class", "less", "more"])
def test_other_images_have_another_digest(tmp_path: Path, change: str) -> None:
    root = paint_classes(tmp_path / "set", {"a": 20, "b": 20})
    before = load(root, tmp_path)
    if change == "pixel":
        paint(root / "a" / "003.png", 99)
    elif change == "class":
        (root / "a").rename(root / "c")
    elif change == "less":
        (root / "a" / "003.png").unlink()
    else:
        paint(root / "a" / "x.png", 99)
    assert load(root, tmp_path).digest != before.digest


def test_a_changed_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 8, "b": 8})
    path = root / "a" / "003.ppm"
    (root / "a" / "003.png").unlink()
    path.write_bytes(b"P6 12 12 255\n" + bytes([7]) * 432)
    before, status = load(root, tmp_path), path.stat()
    path.write_bytes(b"P6 12 12 255\n" + bytes([8]) * 432)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load(root, tmp_path)
    assert after.digest != before.digest
    assert not all(map(torch.equal, splits(after), splits(before)))


def test_files_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, looked = paint_classes(tmp_path / "set", {"a": 8, "b": 8}), []

    def look(path: str, decode: bool) -> object:
        looked.append(path)
        return inspect_file(path, decode)

    monkeypatch.setattr(inspection, "inspect_file", look)
    load(root, tmp_path)
    assert len(looked) == 16
    load(root, tmp_path)
    assert len(looked) == 16
    paint(root / "a" / "new.png", 77)
    load(root, tmp_path)
    assert looked[16:] == [str(root / "a" / "new.png")]
    load(root, tmp_path, skip_broken=True)  # headers alone do not tell which files are broken
    assert len(looked) == 34


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"version": 1, "files": []}', '{"version": 1, "files": {"a": 3}}']
)
def test_a_damaged_record_of_files_is_made_again(tmp_path: Path, damage: str) -> None:
    root = paint_classes(tmp_path / "set", {"a": 8, "b": 8})
    before = load(root, tmp_path)
    (record,) = (tmp_path / "cache" / "inspected").iterdir()
    assert len(json.loads(record.read_text())["files"]) == 16
    record.write_text(damage)
    assert load(root, tmp_path).digest == before.digest
    assert len(json.loads(record.read_text())["files"]) == 16


def test_large_files_are_known_by_both_ends_and_uncompressed_ones_by_all(tmp_path: Path) -> None:
    content = bytearray(os.urandom(600_000))

    def digest_of(ending: str) -> str:
        path = tmp_path / f"x{ending}"
        path.write_bytes(content)
        return content_digest(str(path), len(content))

    jpeg, ppm = digest_of(".jpg"), digest_of(".ppm")
    content[300_000] ^= 1
    assert digest_of(".jpg") == jpeg and digest_of(".ppm") != ppm
    content[-1] ^= 1
    assert digest_of(".jpg") != jpeg


def test_copies_stay_together_and_are_said(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 30, "b": 30})
    for number in range(30):
        source = root / "a" / f"{number:03}.png"
        shutil.copy(source, root / "a" / f"copy{number:03}.png")
        (root / "b" / f"link{number:03}.png").symlink_to(source)  # the same pictures under another class
        os.link(source, root / "a" / f"hard{number:03}.png")
    data = load(root, tmp_path)
    shown = [{int(image[0, 0, 0]) for image in unnormalized(data, split)} for split in all_splits(data)]
    assert not (shown[0] & shown[1] or shown[0] & shown[2] or shown[1] & shown[2])
    assert "pictures that are under two classes or more: 30" in data.summary.warnings
    assert "files that repeat the picture of another one, all in one split: 90" in data.summary.notes


def all_splits(data: Data) -> list[object]:
    return [data.train, data.val, data.final_test()]


def unnormalized(data: Data, split: object) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    return ((read_all(split)[0] * std + mean) * 255).round()  # type: ignore[arg-type]


def test_a_picture_of_two_parts_stays_in_the_one_it_must_not_leak_from(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", {"a": 10, "b": 10})
    paint_classes(
        tmp_path / "val", {"a": 4, "b": 4}, first=5
    )  # 5 to 8 of a, 9 of a as one of b, 10 to 12 of b
    paint_classes(tmp_path / "test", {"a": 2, "b": 2}, first=8)
    data = load(tmp_path, tmp_path.parent / "cache-of-parts")
    shown = [
        sorted({int(image[0, 0, 0]) for image in unnormalized(data, split)}) for split in all_splits(data)
    ]
    assert shown == [[0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 18, 19], [5, 6, 7, 12], [8, 9, 10, 11]]
    said = " ".join(data.summary.notes)
    assert "of the train part that are in the test part too, and are left out of train: 4" in said
    assert "of the train part that are in the val part too, and are left out of train: 4" in said
    assert "of the val part that are in the test part too, and are left out of val: 4" in said


def test_a_test_part_that_repeats_the_training_part_is_refused(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", {"a": 10, "b": 10})
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    with pytest.raises(DataError, match="no image is left in the train part of"):
        load(tmp_path, tmp_path.parent / "other")


def test_a_validation_part_that_repeats_the_test_is_refused(tmp_path: Path) -> None:
    paint_classes(tmp_path / "train", {"a": 10, "b": 10})
    paint_classes(tmp_path / "test", {"a": 5, "b": 5}, first=50)
    shutil.copytree(tmp_path / "test", tmp_path / "val")
    with pytest.raises(DataError, match="no image is left in the val part of"):
        load(tmp_path, tmp_path.parent / "other")


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=1, max_size=120), st.integers(0, 5)
)
def test_a_carved_split_is_complete_and_divides_no_picture(
    pictures: list[tuple[int, int]], seed: int
) -> None:
    labels, contents = zip(*pictures, strict=True)
    source = Source(
        "x", labels, ("a", "b", "c"), ("any",) * len(labels), None, None,  # type: ignore[arg-type]
        tuple(map(str, contents)), (8, 1), SourceReport(),
    )  # fmt: skip
    try:
        found = split_indices(source, seed)
    except DataError as error:
        assert "too few" in str(error)
        return
    assert sorted(chain(*found.values())) == list(range(len(labels)))
    homes = {name: {contents[index] for index in indices} for name, indices in found.items()}
    assert not (
        homes["train"] & homes["val"] or homes["train"] & homes["test"] or homes["val"] & homes["test"]
    )
    for indices in found.values():
        assert {labels[index] for index in indices} == {0, 1, 2}


def test_different_pictures_are_divided_as_shares_say(tmp_path: Path) -> None:
    data = load(paint_classes(tmp_path / "set", {"a": 100, "b": 100}), tmp_path)
    assert [len(split) for split in (data.train, data.val, data.final_test())] == [140, 20, 40]


def test_the_first_reading_keeps_the_split_by_position(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 20, "b": 20})
    (root / "a" / "x.gif").write_bytes(b"passed over as it was")
    first = load(root, tmp_path, reading=FIRST_READING)
    assert first.digest == first.first_digest(f"folder:{root}")
    assert first.digest == digest_of_version_0_1(f"folder:{root}")
    assert first.summary.read_otherwise == 0
    (root / "a" / "x.gif").unlink()
    assert load(root, tmp_path).digest != first.digest


def digest_of_version_0_1(spec: str) -> str:
    """What that version computed for two classes of 20 images."""
    import hashlib

    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for number, name in enumerate("ab"):
        order = sorted(range(20), key=lambda i: hashlib.sha256(f"0/{name}/{i}".encode()).digest())
        for part, members in (("val", order[:2]), ("test", order[2:6]), ("train", order[6:])):
            splits[part] += [20 * number + i for i in members]
    value = [spec, [0] * 20 + [1] * 20, ["a", "b"], {part: sorted(each) for part, each in splits.items()}]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def test_the_first_reading_takes_val_to_validate_and_counts_what_it_misread(tmp_path: Path) -> None:
    from PIL import Image

    paint_classes(tmp_path / "train", {"a": 10, "b": 10})
    paint_classes(tmp_path / "val", {"a": 5, "b": 5}, first=50)
    Image.new("RGBA", (12, 12), (1, 2, 3, 0)).save(tmp_path / "val" / "a" / "clear.png")
    cache = tmp_path.parent / "cache-of-first"
    first = load_data(f"folder:{tmp_path}", cache_dir=cache, reading=FIRST_READING)
    assert [len(split) for split in (first.train, first.val, first.final_test())] == [16, 11, 4]
    assert first.summary.read_otherwise == 1
