"""Images that cannot be used are refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.dataset import load_data
from search_spaces.errors import DataError
from tests.helpers.image_folders import paint, paint_classes


def absent(root: Path) -> str:
    return f"folder:{root / 'nowhere'}"


def a_file(root: Path) -> str:
    (root / "x").write_text("")
    return f"folder:{root / 'x'}"


def empty(root: Path) -> str:
    return f"folder:{root}"


def no_class_folders(root: Path) -> str:
    paint(root / "1.png", 1)
    return f"folder:{root}"


def empty_class(root: Path) -> str:
    paint_classes(root, {"a": 4, "b": 4})
    (root / "c").mkdir()
    return f"folder:{root}"


def one_class(root: Path) -> str:
    return f"folder:{paint_classes(root, {'a': 9})}"


def two_images(root: Path) -> str:
    return f"folder:{paint_classes(root, {'a': 9, 'b': 2})}"


def foreign_class(root: Path) -> str:
    paint_classes(root / "train", {"ant": 4, "bee": 4})
    paint_classes(root / "test", {"ants": 2})
    return f"folder:{root}"


def missing_class(root: Path) -> str:
    paint_classes(root / "train", {"ant": 4, "bee": 4})
    (root / "train" / "cat").mkdir()
    return f"folder:{root}"


def corrupt(root: Path) -> str:
    paint_classes(root, {"a": 4, "b": 4})
    (root / "b" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n nonsense")
    return f"folder:{root}"


def truncated(root: Path) -> str:
    paint_classes(root, {"a": 70, "b": 70})
    path = root / "a" / "001.png"
    Image.effect_noise((12, 12), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:200])
    return f"folder:{root}"


def sixteen_bits(root: Path) -> str:
    paint_classes(root, {"a": 4, "b": 4})
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(root / "a" / "000.png")
    return f"folder:{root}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (absent, "does not exist"),
        (a_file, "is a file"),
        (empty, "holds no class folders"),
        (no_class_folders, "holds no class folders"),
        (empty_class, "holds no images"),
        (one_class, "has a single class, 'a'"),
        (two_images, "class 'b' of .* has too few images to split: 2 where at least 3"),
        (foreign_class, "did you mean 'ant'"),
        (missing_class, "cat holds no images"),
        (corrupt, r"002\.png cannot be decoded"),
        (truncated, r"001\.png cannot be decoded"),
        (sixteen_bits, "more than 8 bits"),
        (lambda _: "mnist", "did you mean 'mnist5k'"),
        (lambda _: "torch/cifar11", "did you mean 'torch/cifar10'"),
        (lambda _: "", "unknown --data"),
        (lambda _: "folder:", "names no folder; type --data folder:PATH"),
        (lambda root: str(root), "is a path; type --data folder:/.*/set to read"),
        (lambda root: f"Folder:{root}", "is a path; type --data folder:/"),
        (lambda _: "./nowhere", "is a path; type --data folder:./nowhere"),
        (lambda _: "folder:~no-such-user/x", "unknown home folder"),
        (lambda _: "folder:a\0b", "not UTF-8"),
        (lambda _: "folder:" + "a" * 5000, "does not exist"),
        (lambda _: "torch/image_folder", "needs --data-dir"),
        (lambda _: "wds/imagenet", "type --data hfds/imagenet"),
        (lambda _: "torch/imagenet", "cannot be read from"),
    ],
)
def test_refuses_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: Callable[[Path], str], message: str
) -> None:
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        load_data(spec(tmp_path / "set"), cache_dir=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache" / "decoded").exists()


def test_refuses_a_size_below_eight() -> None:
    with pytest.raises(DataError, match="at least 8"):
        load_data("mnist5k", image_size=4)
