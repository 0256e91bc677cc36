"""Files of every kind show what their makers meant, or are refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.dataset import Data, load_data
from nas.data.decoding import read_image
from nas.data.sources.folder import ImageFiles
from nas.data.sources.path_list import PathList
from search_spaces.errors import DataError
from tests.helpers.image_folders import paint, paint_classes

TURNED_BACK = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


def read(path: Path, channels: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(read_image(ImageFiles(PathList.from_texts([str(path)])), 0, channels)).astype(int)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes of zeros may declare more pixels than the memory holds."""
    paint_classes(tmp_path / "set", {"a": 4, "b": 4})
    Image.new("L", (9000, 8000)).save(tmp_path / "set" / "b" / "huge.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    says = r"huge.png .*pixels of an image file may be 64,000,000 at most, not 72,000,000; set NAS_LIMIT_IMAGE_PIXELS"
    with pytest.raises(DataError, match=says):
        load_data(f"folder:{tmp_path / 'set'}")
    monkeypatch.undo()
    monkeypatch.setenv("NAS_LIMIT_IMAGE_PIXELS", "255")
    with pytest.raises(DataError, match="not 256; set"):
        load_data(f"folder:{paint_classes(tmp_path / 'small', {'a': 4, 'b': 4}, size=(16, 16))}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, ending: str) -> None:
    pixels = np.zeros((24, 16, 3), np.uint8)
    pixels[:8, :8] = (250, 0, 0)
    pixels[16:, :8] = (0, 0, 250)
    # A camera stores the scene turned, and says by the tag how to turn it back.
    stored = Image.fromarray(np.ascontiguousarray(TURNED_BACK[orientation](pixels)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = (
        {"quality": 100, "subsampling": 0}
        if ending == "jpg"
        else {"lossless": True}
        if ending == "webp"
        else {}
    )
    stored.save(tmp_path / f"x.{ending}", exif=exif, **how)
    assert abs(read(tmp_path / f"x.{ending}") - pixels).max() <= (3 if ending == "jpg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_leaves_the_image_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 9, 9)).save(
        tmp_path / "x.jpg", exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff", quality=100
    )
    assert read(tmp_path / "x.jpg").shape == (8, 8, 3)


def hidden_colours(mode: str) -> Image.Image:
    """An image that is transparent everywhere, over colours that nobody sees."""
    image = Image.new("RGBA", (8, 8), (10, 200, 30, 0))
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 10, 200, 30])
        palette.info["transparency"] = 1
        return palette
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    hidden_colours(mode).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").min() == 255
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    half.save(tmp_path / "half.png")
    assert read(tmp_path / "half.png")[0, 0].tolist() == [127] * 3


def test_a_colour_key_is_transparent_too(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "x.png", transparency=(10, 20, 30))
    Image.new("L", (8, 8), 7).save(tmp_path / "grey.png", transparency=7)
    assert read(tmp_path / "x.png").min() == 255
    assert read(tmp_path / "grey.png", 1).min() == 255


@pytest.mark.parametrize(
    ("mode", "colour", "ending", "expected"),
    [
        ("1", 1, "png", [255] * 3),
        ("P", 5, "gif", None),
        ("CMYK", (0, 255, 255, 0), "tif", [255, 0, 0]),
        ("L", 77, "pgm", [77] * 3),
    ],
)
def test_other_modes_become_rgb(
    tmp_path: Path, mode: str, colour: object, ending: str, expected: list[int] | None
) -> None:
    Image.new(mode, (8, 8), colour).save(tmp_path / f"x.{ending}")  # type: ignore[arg-type]
    found = read(tmp_path / f"x.{ending}")
    assert found.shape == (8, 8, 3)
    assert expected is None or found[0, 0].tolist() == expected


def load(root: Path, tmp_path: Path, **how: object) -> Data:
    return load_data(f"folder:{root}", cache_dir=tmp_path / "cache", **how)  # type: ignore[arg-type]


def test_one_colour_image_among_many_decides_the_channels(tmp_path: Path) -> None:
    for number in range(150):
        paint(tmp_path / "set" / "ab"[number % 2] / f"{number:03}.png", number, mode="L")
    assert load(tmp_path / "set", tmp_path).in_channels == 1
    paint(tmp_path / "set" / "b" / "077x.png", 3)
    data = load(tmp_path / "set", tmp_path)
    assert data.in_channels == 3
    assert data.summary.modes == {"L": 150, "RGB": 1}


def test_one_large_image_among_many_decides_the_size(tmp_path: Path) -> None:
    for number in range(150):
        paint(tmp_path / "set" / "ab"[number % 2] / f"{number:03}.png", number, mode="L")
    paint(tmp_path / "set" / "a" / "070x.png", 9, mode="L", size=(12, 13))
    data = load(tmp_path / "set", tmp_path)
    assert data.image_size == 224
    assert data.summary.sides == (12, 13)


def test_grey_with_alpha_and_one_bit_are_grey(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(6):
        paint(root / "a" / f"{number}.png", number, mode="L")
        Image.new("LA", (12, 12), (number, 255)).save(root / "a" / f"la{number}.png")
        image = Image.new("1", (12, 12), 0)
        image.putpixel((number, 0), 1)
        (root / "b").mkdir(exist_ok=True)
        image.save(root / "b" / f"{number}.png")
    assert load(root, tmp_path).in_channels == 1


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 8, "b": 8})
    frames = [Image.new("RGB", (12, 12), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    frames[0].save(root / "a" / "x.gif", save_all=True, append_images=frames[1:])
    assert "files of several frames, of which the first counts: 1" in load(root, tmp_path).summary.notes
    assert abs(read(root / "a" / "x.gif")[0, 0] - (200, 0, 0)).max() < 5


def break_files(root: Path) -> dict[str, str]:
    """Make a set with a broken file of every kind; return what is said of each."""
    paint_classes(root, {"a": 30, "b": 30})
    Image.effect_noise((40, 40), 90).convert("RGB").save(root / "a" / "cut.jpg")
    content = (root / "a" / "cut.jpg").read_bytes()
    (root / "a" / "cut.jpg").write_bytes(content[: len(content) // 2])
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "a" / "text.png").write_text("hello")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "b" / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "b" / "pipe.png")
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(root / "b" / "deep.png")
    Image.fromarray(np.zeros((12, 12), np.float32)).save(root / "b" / "float.tif")
    return {
        "cut.jpg": "truncated",
        "empty.png": "empty",
        "text.png": "cannot identify",
        "gone.png": "No such file",
        "loop.png": "symbolic links",
        "pipe.png": "no regular file",
        "deep.png": "more than 8 bits",
        "float.tif": "more than 8 bits",
    }


def test_every_broken_file_is_found_at_once_and_can_be_skipped(tmp_path: Path) -> None:
    expected = break_files(tmp_path / "set")
    with pytest.raises(DataError, match=r"7 images cannot be decoded: .*--skip-broken") as caught:
        load(tmp_path / "set", tmp_path)  # by headers alone
    assert "\n" not in str(caught.value)
    data = load(tmp_path / "set", tmp_path, skip_broken=True)
    reasons = {Path(path).name: reason for path, reason in data.summary.broken}
    assert reasons.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in reasons.items())
    assert data.summary.classes == {"a": 30, "b": 30}
    assert "broken    8 files are left out" in " ".join(data.summary.lines())


def test_skipping_broken_files_gives_what_removing_them_gives(tmp_path: Path) -> None:
    expected = break_files(tmp_path / "set")
    skipped = load(tmp_path / "set", tmp_path, skip_broken=True)
    for name in expected:
        for folder in "ab":
            (tmp_path / "set" / folder / name).unlink(missing_ok=True)
    removed = load(tmp_path / "set", tmp_path)
    assert skipped.digest == removed.digest
    assert torch.equal(next(skipped.val.batches(8))[0], next(removed.val.batches(8))[0])


def test_at_most_ten_broken_files_are_named(tmp_path: Path) -> None:
    root = paint_classes(tmp_path / "set", {"a": 5, "b": 5})
    for number in range(13):
        (root / "a" / f"x{number:02}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"13 images cannot be decoded: .* and 3 more;") as caught:
        load(root, tmp_path)
    assert str(caught.value).count("cannot identify") == 10


def test_a_file_that_breaks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = paint_classes(tmp_path / "set", {"a": 5, "b": 5})
    original = ImageFiles.open

    def vanish(self: ImageFiles, index: int) -> Image.Image:
        if self.paths[index].endswith("a/003.png"):
            raise FileNotFoundError(2, "No such file or directory")
        return original(self, index)

    monkeypatch.setattr(ImageFiles, "open", vanish)
    with pytest.raises(DataError, match=r"a/003\.png cannot be decoded \(No such file or directory\)"):
        load(root, tmp_path)
