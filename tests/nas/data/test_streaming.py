"""Images streamed from disk are those read from memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data.dataset import load_data
from nas.data.streaming import StreamedImages
from search_spaces.errors import DataError
from tests.helpers.image_folders import paint_classes, read_all


def test_streamed_images_equal_those_in_memory_and_resume(tmp_path: Path, cache: Path) -> None:
    root = paint_classes(tmp_path, {"a": 12, "b": 12}, size=(40, 30))
    spec = f"folder:{root}"
    held = load_data(spec, image_size=24, cache_dir=cache)
    streamed = load_data(spec, image_size=24, cache_dir=cache, memory_limit=1000)
    assert held.digest == streamed.digest
    assert isinstance(streamed.train.images, StreamedImages)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (held.mean, held.std))
    other_mean, other_std = (torch.tensor(values).view(-1, 1, 1) for values in (streamed.mean, streamed.std))
    ours, theirs = read_all(held.val)[0] * std + mean, read_all(streamed.val)[0] * other_std + other_mean
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
            read_all(split)
    assert "\n" not in str(caught.value)
