"""Data: found and split once and for all."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.dataset import Data, load_data
from tests.helpers.image_folders import indices_of, paint, paint_classes, read_all


def test_mnist5k_is_split_3500_500_1000_by_class(digits: Data) -> None:
    assert (digits.name, digits.image_size, digits.in_channels) == ("mnist5k", 28, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.augmentation.policy == "digits"
    for split, per_class in ((digits.train, 350), (digits.val, 50), (digits.final_test(), 100)):
        assert split.labels.bincount().tolist() == [per_class] * 10
        assert len(split) == 10 * per_class
    images, _ = read_all(digits.train)
    assert images.shape == (3500, 1, 28, 28)
    assert abs(float(images.mean())) < 1e-2 and abs(float(images.std()) - 1) < 1e-2


def test_mnist5k_splits_are_pinned(digits: Data) -> None:
    # A change of these numbers makes every published accuracy incomparable.
    assert digits.val.indices[:5].tolist() == [8, 10, 21, 24, 34]
    assert digits.digest[:16] == "497c31c6633bbd6e"


def test_parts_are_disjoint_and_complete(digits: Data, coloured: Data) -> None:
    for one, count in ((digits, 5000), (coloured, 100)):
        parts = [indices_of(one.train), indices_of(one.val), indices_of(one.final_test())]
        assert set.union(*parts) == set(range(count))
        assert sum(map(len, parts)) == count


def test_a_folder_is_split_by_class_and_read_right(coloured: Data) -> None:
    assert (coloured.image_size, coloured.in_channels, coloured.augmentation.policy) == (12, 3, "small")
    assert coloured.class_names == ("ant", "bee", "cat")
    assert coloured.val.labels.bincount().tolist() == [4, 3, 3]
    assert coloured.final_test().labels.bincount().tolist() == [8, 6, 6]
    images, labels = read_all(coloured.val)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (coloured.mean, coloured.std))
    painted = ((images * std + mean) * 255).round()[:, 0, 0, 0]
    # Images were painted with their number: 40 ants, 30 bees, 30 cats.
    assert [0 if number < 40 else 1 if number < 70 else 2 for number in painted.tolist()] == labels.tolist()
    assert len(set(painted.tolist())) == len(coloured.val)
    assert torch.equal(labels, coloured.val.labels)


def test_splits_depend_on_the_split_seed_alone(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 20, "b": 20})
    first, again, other = (load_data(f"folder:{root}", cache_dir=cache, seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert indices_of(first.val) == indices_of(again.val) != indices_of(other.val)


def test_declared_parts_are_kept_and_missing_ones_carved(tmp_path: Path, cache: Path) -> None:
    paint_classes(tmp_path / "train", {"a": 10, "b": 10})
    paint_classes(tmp_path / "test", {"a": 2, "b": 1}, first=100)
    only_test = load_data(f"folder:{tmp_path}", cache_dir=cache)
    assert [len(s) for s in (only_test.train, only_test.val, only_test.final_test())] == [18, 2, 3]
    assert indices_of(only_test.final_test()).isdisjoint(
        indices_of(only_test.train) | indices_of(only_test.val)
    )
    paint_classes(tmp_path / "valid", {"a": 3}, first=200)
    both = load_data("torch/image_folder", data_dir=tmp_path, cache_dir=cache)
    assert [len(s) for s in (both.train, both.val, both.final_test())] == [20, 3, 3]


def test_a_class_may_be_called_train(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"train": 4, "plane": 4})
    assert load_data(f"folder:{root}", cache_dir=cache).class_names == ("plane", "train")


@pytest.mark.parametrize(
    ("sizes", "modes", "expected"),
    [
        ([(32, 32)], ["L"], (32, 1)),
        ([(32, 32)], ["L", "RGB"], (32, 3)),
        ([(32, 32), (28, 28)], ["RGB"], (224, 3)),
        ([(32, 24)], ["RGB"], (224, 3)),
        ([(100, 100)], ["L"], (224, 1)),
    ],
)
def test_size_and_channels_follow_the_images(
    tmp_path: Path, cache: Path, sizes: list[tuple[int, int]], modes: list[str], expected: tuple[int, int]
) -> None:
    for i in range(8):
        paint(
            tmp_path / "ab"[i % 2] / f"{i}.png",
            i,
            size=sizes[i // 2 % len(sizes)],
            mode=modes[i % len(modes)],
        )
    found = load_data(f"folder:{tmp_path}", cache_dir=cache)
    assert (found.image_size, found.in_channels) == expected
    assert found.augmentation.policy == (
        "large" if expected[0] == 224 else "digits" if expected[1] == 1 else "small"
    )


def test_changed_images_are_decoded_again_and_progress_is_reported(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 4, "b": 4})
    calls: list[tuple[int, int]] = []

    def load() -> torch.Tensor:
        calls.clear()
        found = load_data(f"folder:{root}", cache_dir=cache, on_progress=lambda *at: calls.append(at))
        return read_all(found.train)[0]

    load()
    assert calls == [(i, 8) for i in range(1, 9)]
    load()
    assert not calls
    for number, path in enumerate((root / "a").iterdir()):
        paint(path, 250 + number, size=(12, 12))
    load()
    assert len(calls) == 8


def write_idx(path: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_a_torchvision_set_by_timm_name(tmp_path: Path, cache: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    for part, count in (("train", 40), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.arange(count * 784).reshape(count, 28, 28) % 251)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    found = load_data("torch/mnist", data_dir=tmp_path, cache_dir=cache)
    assert (found.image_size, found.in_channels, len(found.class_names)) == (28, 1, 10)
    assert [len(s) for s in (found.train, found.val, found.final_test())] == [30, 10, 20]
    assert indices_of(found.final_test()) == set(range(40, 60))
    assert load_data("torch/mnist", data_dir=tmp_path, cache_dir=cache).digest == found.digest
