"""Images streamed from disk: those read from memory, in any number of processes, and no more work than needed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import loader
from nas.data.augment import Augmentation
from nas.data.dataset import Data, load_data
from nas.data.decoding import read_part, resize_and_crop
from nas.data.images import InMemoryImages
from nas.data.rand_augment import seeded
from nas.data.sources.folder import ImageFiles
from nas.data.sources.path_list import PathList
from nas.data.streaming import StreamDecoder, StreamedImages
from nas.data.training_transform import TrainingTransform
from nas.runtime import interrupt
from search_spaces.errors import DataError, WorkError
from tests.helpers.image_folders import paint_classes, read_all

EVERYTHING = Augmentation(
    "large", rand_augment="rand-m9-mstd0.5-inc1", random_erasing=0.5, crop_area=0.3, repeats=2
)


def stream(root: Path, cache: Path, **how: object) -> Data:
    how = {"image_size": 24, "memory_limit": 1000, **how}
    return load_data(f"folder:{root}", cache_dir=cache, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Data:
    root = paint_classes(tmp_path_factory.mktemp("streamed"), {"a": 16, "b": 16}, size=(40, 30))
    return stream(root, cache)


def test_streamed_images_equal_those_in_memory_and_resume(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 12, "b": 12}, size=(40, 30))
    held, streamed = stream(root, cache, memory_limit=2**30), stream(root, cache)
    assert held.digest == streamed.digest
    assert isinstance(streamed.train.images, StreamedImages)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (held.mean, held.std))
    other_mean, other_std = (torch.tensor(values).view(-1, 1, 1) for values in (streamed.mean, streamed.std))
    ours, theirs = read_all(held.val)[0] * std + mean, read_all(streamed.val)[0] * other_std + other_mean
    torch.testing.assert_close(ours, theirs)
    (root / "a" / "000.png").write_bytes(b"not an image")
    everything = [streamed.train, streamed.val, streamed.final_test()]
    with pytest.raises(DataError, match=r"a/000\.png cannot be decoded") as caught:
        for split in everything:
            read_all(split)
    assert "\n" not in str(caught.value)
    # Whoever was refused once can go on with what is whole.
    assert sum(len(labels) for _, labels in streamed.val.batches(4)) == len(streamed.val)


@pytest.mark.parametrize("augment", [True, EVERYTHING])
def test_batches_follow_from_seed_epoch_and_number_alone(
    streamed: Data, augment: Augmentation | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"shuffle_seed": 3, "epoch": 5, "augment": augment}
    every = list(streamed.train.batches(4, **how))  # type: ignore[arg-type]
    tail = list(streamed.train.batches(4, start=2, **how))  # type: ignore[arg-type]
    assert len(tail) == len(every) - 2
    for (images, labels), (expected, classes) in zip(tail, every[2:], strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, classes)
    monkeypatch.setattr(loader, "MAX_WORKERS", 1)
    monkeypatch.setattr("nas.data.streaming.TASK_IMAGES", 3)
    alone = pickle.loads(pickle.dumps(streamed))  # has processes of its own
    ranks = [list(alone.train.batches(4, rank=rank, world=2, **how)) for rank in range(2)]
    for number, (images, labels) in enumerate(every):
        for rank in range(2):
            if number < len(ranks[rank]):
                assert torch.equal(ranks[rank][number][0], images[rank::2])
                assert torch.equal(ranks[rank][number][1], labels[rank::2])
    assert list(streamed.train.batches(4, start=99)) == []


def test_resuming_decodes_none_of_the_images_before(streamed: Data) -> None:
    asked = []
    images = streamed.train.images
    assert isinstance(images, StreamedImages)
    decode = images.decoder

    class Noting:
        image_size, channels = decode.image_size, decode.channels

        def read(self, tasks, pin_memory):  # type: ignore[no-untyped-def]
            for task in tasks:
                asked.extend(task.indices.tolist())
                yield decode(task)

    pool = images._loaders
    object.__setattr__(images, "_loaders", Noting())
    try:
        expected = [labels for _, labels in streamed.train.batches(4, shuffle_seed=0)][4:]
        assert sorted(asked) == sorted(streamed.train.indices.tolist())
        asked.clear()
        found = [labels for _, labels in streamed.train.batches(4, shuffle_seed=0, start=4)]
    finally:
        object.__setattr__(images, "_loaders", pool)
    assert len(asked) == len(streamed.train) - 16
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def children() -> set[int]:
    """Return the processes that this one has started."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_processes_are_kept_from_epoch_to_epoch_and_end_with_their_images(streamed: Data) -> None:
    before = children()  # of which those of images that another test is done with may end at any time
    own = pickle.loads(pickle.dumps(streamed))
    list(own.train.batches(8, shuffle_seed=0, augment=True))
    workers = children() - before
    assert 0 < len(workers) <= loader.MAX_WORKERS
    for epoch in range(2):
        list(own.train.batches(8, shuffle_seed=0, epoch=epoch, augment=EVERYTHING))
        list(own.val.batches(8))
    next(own.train.batches(4))  # nobody reads the rest
    assert len(read_all(own.train)[0]) == len(own.train)
    assert children() - before == workers
    # Two that read at once do not get one another's images.
    pairs = zip(own.train.batches(4), own.train.batches(4, start=1), strict=False)
    ((_, _), (first, _)), ((second, _), (_, _)) = next(pairs), next(pairs)
    assert torch.equal(first, second)
    del own, pairs, first, second
    assert not children() - before


def test_a_killed_process_is_one_sentence(streamed: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    own = pickle.loads(pickle.dumps(streamed))
    before = children()
    list(own.val.batches(8))
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkError, match="a process that decodes images was killed"):
        list(own.val.batches(8))
    assert len(read_all(own.val)[0]) == len(own.val)  # the next one starts others
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    # A terminal's Ctrl-C ends the processes too: that is the user's wish, not a failure.
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted):
        list(own.val.batches(8))


@pytest.mark.slow
def test_processes_end_with_a_driver_that_is_killed(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 12, "b": 12}, size=(40, 30))
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom nas.data.dataset import load_data\n"
        f"data = load_data('folder:{root}', image_size=24, memory_limit=1000, cache_dir=Path('{cache}'))\n"
        "next(data.train.batches(4))\nlist(data.val.batches(4))\n"
        "print(Path(f'/proc/self/task/{os.getpid()}/children').read_text(), flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        workers = [int(pid) for pid in driver.stdout.readline().split()]
        driver.kill()
    deadline = time.monotonic() + 60
    while (
        alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    ) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert workers and not alive


def test_images_in_memory_are_copied_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, copies = InMemoryImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)), []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: copies.append(device) or tensor)
    for _ in range(3):  # epochs
        list(images.read([], None, torch.device("meta")))
    assert copies == [torch.device("meta")]


def jpeg(path: Path, width: int, height: int) -> ImageFiles:
    """Write a smooth picture: red grows to the right and green downwards."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 / width, rows * 255 / height, np.full_like(rows, 90)], 2)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)
    return ImageFiles(PathList.from_texts([str(path)]))


@pytest.mark.parametrize(
    ("box", "side", "decoded"),
    [
        ((0, 0, 800, 600), 300, (400, 300)),  # 600 px where 300 are needed: half
        ((0, 0, 800, 600), 301, (800, 600)),  # a half would be too small
        ((0, 0, 800, 600), 100, (200, 150)),  # a sixth is needed, a quarter is the next
        ((200, 100, 600, 500), 100, (100, 100)),
        ((200, 100, 599, 500), 100, (200, 200)),  # 399 px: 99 at a quarter
    ],
)
def test_a_large_jpeg_is_decoded_no_finer_than_its_crop_needs(
    tmp_path: Path, box: tuple[int, int, int, int], side: int, decoded: tuple[int, int]
) -> None:
    images = jpeg(tmp_path / "x.jpg", 800, 600)
    part = read_part(images, 0, 3, lambda width, height: box, side)
    assert part.size == decoded and min(part.size) >= side
    whole = read_part(images, 0, 3, lambda width, height: box)
    assert whole.size == (box[2] - box[0], box[3] - box[1])
    small, large = (np.asarray(image.resize((side, side))).astype(int) for image in (part, whole))
    assert np.abs(small - large).max() <= 6  # of 255


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_crop_of_a_turned_jpeg_is_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    jpeg(tmp_path / "x.jpg", 800, 400)
    image, exif = Image.open(tmp_path / "x.jpg"), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    sizes = []

    def lower_right(width: int, height: int) -> tuple[float, float, float, float]:
        sizes.append((width, height))
        return width / 2, height / 2, width, height

    images = ImageFiles(PathList.from_texts([str(tmp_path / "turned.jpg")]))
    for least in (None, 50):
        part = np.asarray(read_part(images, 0, 3, lower_right, least)).astype(int)
        # Turned by a quarter clockwise, what was at the lower left (less red, more green) lies at the upper left, so
        # the lower right shows what was at the upper right: much red, little green.
        red, green = part[..., 0].mean(), part[..., 1].mean()
        assert red == pytest.approx(191, abs=4) and green == pytest.approx(
            191 if orientation == 1 else 64, abs=4
        )
    assert set(sizes) == {(800, 400) if orientation == 1 else (400, 800)}


def test_training_drafts_and_former_studies_do_not(tmp_path: Path, cache: Path) -> None:
    for name in "ab":
        for number in range(8):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            jpeg(tmp_path / "set" / name / f"{number}.jpg", 400 + number, 400 - ord(name))
    new = stream(tmp_path / "set", cache, image_size=96)
    former = stream(tmp_path / "set", cache, image_size=96, reading=2)
    assert isinstance(new.train.images, StreamedImages) and isinstance(former.train.images, StreamedImages)
    assert new.train.images.decoder.draft and not former.train.images.decoder.draft
    assert new.digest == former.digest  # the same images in the same splits
    how = {"shuffle_seed": 0, "augment": True}
    (ours, labels), (theirs, other_labels) = (
        next(data.train.batches(8, **how))
        for data in (new, former)  # type: ignore[arg-type]
    )
    assert torch.equal(labels, other_labels)
    assert 0 < (ours - theirs).abs().max() < 0.2  # deviations, of about 58 bytes each
    # What is compared on is decoded in full.
    assert torch.equal(read_all(new.val)[0], read_all(former.val)[0])


def test_the_test_crop_is_the_centre(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(100, dtype=np.uint8)[None].repeat(80, 0))
    for share, first, last in ((1.0, 10, 89), (0.9, 14, 85), (0.5, 30, 69)):
        row = np.asarray(resize_and_crop(image, 40, share))[20].astype(float)
        assert row.shape == (40,)
        # 80 px on 40: a pixel shows the mean of two, at half the share that of one.
        assert row[0] == pytest.approx(first + (80 * share / 40 - 1) / 2, abs=0.6)
        assert row[-1] == pytest.approx(last - (80 * share / 40 - 1) / 2, abs=0.6)


def test_a_test_crop_is_for_streamed_photographs(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 12, "b": 12}, size=(130, 120))
    cropped = stream(root, cache, image_size=96, test_crop=0.9, memory_limit=2**30)
    assert isinstance(cropped.train.images, StreamedImages)
    assert cropped.train.images.decoder.test_crop == cropped.test_crop == 0.9
    assert "networks see the centre square of 90%" in " ".join(cropped.summary.lines())
    with pytest.raises(DataError, match=r"--test-crop 0\.9 is for photographs"):
        stream(root, cache, image_size=32, test_crop=0.9)


def test_timms_choices_are_those_of_tensors_on_a_streamed_image() -> None:
    """One seed means the same RandAugment, whether an image is streamed or in memory."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    augment = Augmentation("digits", rand_augment="rand-m9-p1-mstd0.5", interpolation="bilinear")
    transform = TrainingTransform(augment)
    with seeded(11):
        one = np.asarray(transform.finish(Image.fromarray(pixels), 32))
    with seeded(11):
        other = np.asarray(transform.finish(Image.fromarray(pixels), 32))
    assert np.array_equal(one, other) and not np.array_equal(one, pixels)


def test_paths_lie_in_two_arrays(tmp_path: Path) -> None:
    texts = ["/a/b.jpg", "", "/caf\u00e9.png", os.fsdecode(b"/caf\xe9.png"), "/last"]
    paths = PathList.from_texts(texts)
    assert [paths[index] for index in range(len(paths))] == texts
    with pytest.raises(IndexError):
        paths[5]
    many = PathList.from_texts(f"/imagenet/train/n{index // 1300:08}/{index}.JPEG" for index in range(10_000))
    assert len(pickle.dumps(many)) < 10_000 * 50
    assert many[9_999] == "/imagenet/train/n00000007/9999.JPEG"
    decoder = StreamDecoder(ImageFiles(many), 224, 3)
    # What a reader hands on to its processes: two arrays, whatever the number of images.
    assert len(pickle.dumps(StreamedImages(decoder))) < 10_000 * 50
