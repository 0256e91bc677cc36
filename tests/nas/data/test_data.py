"""Data: found, split once and for all, resumed to the batch, refused in one sentence."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data import sources
from nas.data import splits as data
from nas.data.augment import Augmentation
from nas.data.splits import Data, Split, load_data
from search_spaces.errors import DataError


def paint(path: Path, number: int, *, mode: str = "RGB", size: tuple[int, int] = (12, 12)) -> None:
    """Write an image that tells its number: every pixel of the first channel has that value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = number if mode == "L" else (number, 100, 200)
    Image.new(mode, size, colour).save(path)


def folder_of(root: Path, counts: dict[str, int], *, first: int = 0, **how: object) -> Path:
    number = first
    for name, count in counts.items():
        for i in range(count):
            paint(root / name / f"{i:03}.png", number % 256, **how)  # type: ignore[arg-type]
            number += 1
    return root


def members(split: Split) -> set[int]:
    return set(split.indices.tolist())


def whole(split: Split, **how: object) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*split.batches(8, **how), strict=True)  # type: ignore[arg-type]
    return torch.cat(images), torch.cat(labels)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Data:
    return load_data("mnist5k", cache_dir=cache)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Data:
    root = folder_of(tmp_path_factory.mktemp("colours"), {"ant": 40, "bee": 30, "cat": 30})
    return load_data(f"folder:{root}", cache_dir=cache)


# --- the embedded digits ---


def test_mnist5k_is_split_3500_500_1000_by_class(digits: Data) -> None:
    assert (digits.name, digits.image_size, digits.in_channels) == ("mnist5k", 28, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.augment.policy == "digits"
    for split, per_class in ((digits.train, 350), (digits.val, 50), (digits.final_test(), 100)):
        assert split.labels.bincount().tolist() == [per_class] * 10
        assert len(split) == 10 * per_class
    images, _ = whole(digits.train)
    assert images.shape == (3500, 1, 28, 28)
    assert abs(float(images.mean())) < 1e-2 and abs(float(images.std()) - 1) < 1e-2


def test_mnist5k_splits_are_pinned(digits: Data) -> None:
    # A change of these numbers makes every published accuracy incomparable.
    assert digits.val.indices[:5].tolist() == [8, 10, 21, 24, 34]
    assert digits.digest[:16] == "497c31c6633bbd6e"


def test_parts_are_disjoint_and_complete(digits: Data, colours: Data) -> None:
    for one, count in ((digits, 5000), (colours, 100)):
        parts = [members(one.train), members(one.val), members(one.final_test())]
        assert set.union(*parts) == set(range(count))
        assert sum(map(len, parts)) == count


@pytest.mark.parametrize("damage", ["none", "emptied", "truncated", "flipped"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "one.safetensors"
    tensors = {"images": torch.arange(6, dtype=torch.uint8)}
    made = []

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return tensors

    sources.cached(path, make)
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"none": content, "emptied": b"", "truncated": content[:-2], "flipped": flipped}[damage])
    assert torch.equal(sources.cached(path, make)["images"], tensors["images"])
    assert len(made) == (1 if damage == "none" else 2)


def test_a_cache_that_cannot_be_written_is_done_without() -> None:
    made = sources.cached(Path("/proc/nas/x.safetensors"), lambda: {"a": torch.ones(1)})
    assert torch.equal(made["a"], torch.ones(1))


def test_the_cache_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "elsewhere"))
    root = folder_of(tmp_path / "set", {"a": 4, "b": 4})
    load_data(f"folder:{root}")
    assert list((tmp_path / "elsewhere" / "decoded").iterdir())


# --- folders ---


def test_a_folder_is_split_by_class_and_read_right(colours: Data) -> None:
    assert (colours.image_size, colours.in_channels, colours.augment.policy) == (12, 3, "small")
    assert colours.class_names == ("ant", "bee", "cat")
    assert colours.val.labels.bincount().tolist() == [4, 3, 3]
    assert colours.final_test().labels.bincount().tolist() == [8, 6, 6]
    images, labels = whole(colours.val)
    mean, std = (torch.tensor(of).view(-1, 1, 1) for of in (colours.mean, colours.std))
    painted = ((images * std + mean) * 255).round()[:, 0, 0, 0]
    assert painted.tolist() == colours.val.indices.tolist()  # images were painted with their number
    assert torch.equal(labels, colours.val.labels)


def test_splits_depend_on_the_split_seed_alone(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path, {"a": 20, "b": 20})
    first, again, other = (load_data(f"folder:{root}", cache_dir=cache, seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert members(first.val) == members(again.val) != members(other.val)


def test_declared_parts_are_kept_and_missing_ones_carved(tmp_path: Path, cache: Path) -> None:
    folder_of(tmp_path / "train", {"a": 10, "b": 10})
    folder_of(tmp_path / "test", {"a": 2, "b": 1}, first=100)
    only_test = load_data(f"folder:{tmp_path}", cache_dir=cache)
    assert [len(s) for s in (only_test.train, only_test.val, only_test.final_test())] == [18, 2, 3]
    assert members(only_test.final_test()).isdisjoint(members(only_test.train) | members(only_test.val))
    folder_of(tmp_path / "valid", {"a": 3}, first=200)
    both = load_data("torch/image_folder", data_dir=tmp_path, cache_dir=cache)
    assert [len(s) for s in (both.train, both.val, both.final_test())] == [20, 3, 3]


def test_a_class_may_be_called_train(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path, {"train": 4, "plane": 4})
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
    assert found.augment.policy == (
        "large" if expected[0] == 224 else "digits" if expected[1] == 1 else "small"
    )


def test_changed_images_are_decoded_again_and_progress_is_told(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path, {"a": 4, "b": 4})
    calls: list[tuple[int, int]] = []

    def load() -> torch.Tensor:
        calls.clear()
        found = load_data(f"folder:{root}", cache_dir=cache, progress=lambda *at: calls.append(at))
        return whole(found.train)[0]

    load()
    assert calls == [(i, 8) for i in range(1, 9)]
    load()
    assert not calls
    for path in (root / "a").iterdir():
        paint(path, 250, size=(12, 12))
    load()
    assert len(calls) == 8


# --- timm ---


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
    assert members(found.final_test()) == set(range(40, 60))
    assert load_data("torch/mnist", data_dir=tmp_path, cache_dir=cache).digest == found.digest


# --- batches ---


def test_batches_repeat_and_epochs_differ(digits: Data) -> None:
    def first(seed: int, epoch: int) -> torch.Tensor:
        return next(digits.train.batches(32, shuffle_seed=seed, epoch=epoch, augment=True))[0]

    assert torch.equal(first(1, 0), first(1, 0))
    assert not torch.equal(first(1, 0), first(1, 1))
    assert not torch.equal(first(1, 0), first(2, 0))


def test_global_random_state_is_neither_used_nor_changed(colours: Data) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    images = whole(colours.train, shuffle_seed=1, augment=True)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(whole(colours.train, shuffle_seed=1, augment=True)[0], images)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.integers(1, 40), st.booleans(), st.none() | st.integers(0, 3))
def test_start_gives_the_tail(
    colours: Data, draw: st.DataObject, batch_size: int, drop_last: bool, seed: int | None
) -> None:
    how = {"shuffle_seed": seed, "augment": True, "drop_last": drop_last}
    every = list(colours.train.batches(batch_size, **how))  # type: ignore[arg-type]
    start = draw.draw(st.integers(0, len(every)))
    tail = list(colours.train.batches(batch_size, start=start, **how))  # type: ignore[arg-type]
    assert len(tail) == len(every) - start
    for (images, labels), (expected, classes) in zip(tail, every[start:], strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, classes)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_every_batch_without_changing_it(colours: Data, world: int) -> None:
    every = list(colours.train.batches(16, shuffle_seed=5, augment=True))
    for rank in range(world):
        mine = colours.train.batches(16, shuffle_seed=5, augment=True, rank=rank, world=world)
        for (images, labels), (expected, classes) in zip(mine, every, strict=True):
            assert torch.equal(images, expected[rank::world]) and torch.equal(labels, classes[rank::world])


def test_ranks_left_over_by_a_small_last_batch_yield_nothing(colours: Data) -> None:
    sizes = [[len(y) for _, y in colours.val.batches(9, rank=r, world=2)] for r in (0, 1)]
    assert sizes == [[5, 1], [4]]


def test_drop_last_dtype_and_order(colours: Data) -> None:
    batches = list(colours.train.batches(32, drop_last=True, dtype=torch.bfloat16))
    assert [len(y) for _, y in batches] == [32, 32]
    assert batches[0][0].dtype == torch.bfloat16
    assert torch.equal(batches[0][1], colours.train.labels[:32])
    shuffled = whole(colours.train, shuffle_seed=0)[1]
    assert not torch.equal(shuffled, colours.train.labels)
    assert torch.equal(shuffled.sort().values, colours.train.labels.sort().values)


def test_data_can_be_sent_to_another_process(colours: Data) -> None:
    copy: Data = pickle.loads(pickle.dumps(colours))
    assert copy.digest == colours.digest
    assert torch.equal(whole(copy.val)[0], whole(colours.val)[0])


# --- augmentation ---


@pytest.mark.parametrize("policy", ["digits", "small", "large"])
@pytest.mark.parametrize("side", [8, 28])
def test_augmentation_keeps_shape_and_range_and_each_image_its_own(policy: str, side: int) -> None:
    augment = Augmentation(policy)  # type: ignore[arg-type]
    images = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    draws = augment.draw(6, torch.Generator().manual_seed(1))
    varied = augment.apply(images, draws)
    assert varied.shape == images.shape
    assert varied.min() >= 0 and varied.max() <= 1.0001
    assert not torch.allclose(varied, images)
    torch.testing.assert_close(augment.apply(images[2:3], draws[2:3]), varied[2:3])


def test_neutral_draws_leave_digits_alone_and_small_images_crop_back() -> None:
    images = torch.rand(1, 1, 28, 28)
    middle = torch.full((1, 5), 0.5)
    torch.testing.assert_close(Augmentation("digits").apply(images, middle), images, atol=1e-5, rtol=0)
    assert torch.equal(Augmentation("small").apply(images, middle), images)
    flipped = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.0]])
    assert torch.equal(Augmentation("small").apply(images, flipped), images.flip(3))
    everything = torch.tensor([[1.0, 0.5, 0.5, 0.5, 1.0]])
    torch.testing.assert_close(Augmentation("large").apply(images, everything), images, atol=1e-5, rtol=0)


def test_a_vertical_shift_moves_down_the_rows_alone() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[0, 0, 4, 4] = 1
    down = torch.tensor([[0.5, 0.99, 0.5, 0.5, 1.0]])
    varied = Augmentation("small").apply(images, down)
    assert varied[0, 0, 3, 4] == 1 and varied.sum() == 1


# --- streaming ---


def test_streamed_images_equal_those_in_memory_and_resume(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path, {"a": 12, "b": 12}, size=(40, 30))
    spec = f"folder:{root}"
    held = load_data(spec, image_size=24, cache_dir=cache)
    streamed = load_data(spec, image_size=24, cache_dir=cache, memory_limit=1000)
    assert held.digest == streamed.digest
    assert isinstance(streamed.train.images, data.Streamed)
    mean, std = (torch.tensor(of).view(-1, 1, 1) for of in (held.mean, held.std))
    other_mean, other_std = (torch.tensor(of).view(-1, 1, 1) for of in (streamed.mean, streamed.std))
    ours, theirs = whole(held.val)[0] * std + mean, whole(streamed.val)[0] * other_std + other_mean
    torch.testing.assert_close(ours, theirs)
    every = list(streamed.train.batches(4, shuffle_seed=3, augment=True))
    tail = list(streamed.train.batches(4, shuffle_seed=3, augment=True, start=2))
    for (images, labels), (expected, classes) in zip(tail, every[2:], strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, classes)
    assert list(streamed.train.batches(4, start=99)) == []
    (root / "a" / "000.png").write_bytes(b"not an image")
    everything = [streamed.train, streamed.val, streamed.final_test()]
    with pytest.raises(DataError, match=r"a/000\.png cannot be decoded") as caught:
        for split in everything:
            whole(split)
    assert "\n" not in str(caught.value)


# --- what is refused ---


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
    folder_of(root, {"a": 4, "b": 4})
    (root / "c").mkdir()
    return f"folder:{root}"


def one_class(root: Path) -> str:
    return f"folder:{folder_of(root, {'a': 9})}"


def two_images(root: Path) -> str:
    return f"folder:{folder_of(root, {'a': 9, 'b': 2})}"


def foreign_class(root: Path) -> str:
    folder_of(root / "train", {"ant": 4, "bee": 4})
    folder_of(root / "test", {"ants": 2})
    return f"folder:{root}"


def missing_class(root: Path) -> str:
    folder_of(root / "train", {"ant": 4, "bee": 4})
    (root / "train" / "cat").mkdir()
    return f"folder:{root}"


def corrupt(root: Path) -> str:
    folder_of(root, {"a": 4, "b": 4})
    (root / "b" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n nonsense")
    return f"folder:{root}"


def truncated(root: Path) -> str:
    folder_of(root, {"a": 70, "b": 70})
    path = root / "a" / "001.png"
    Image.effect_noise((12, 12), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:200])
    return f"folder:{root}"


def sixteen_bits(root: Path) -> str:
    folder_of(root, {"a": 4, "b": 4})
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
        (lambda _: "folder:", "holds no class folders"),
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
    assert not (tmp_path / "cache").exists()


def test_refuses_a_size_below_eight() -> None:
    with pytest.raises(DataError, match="at least 8"):
        load_data("mnist5k", image_size=4)
