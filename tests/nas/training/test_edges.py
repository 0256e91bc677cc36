"""Sets of images at the edge are trained on: no step ends with "expected more than 1 value per channel"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.augment import Augmentation
from nas.data.dataset import Data
from nas.data.images import InMemoryImages
from nas.data.splits import Split
from nas.data.summary import DataSummary
from nas.evaluation import population
from nas.runtime.documents import read_json
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.supernet import count_shards, steps_per_epoch
from nas.training.supernet_checkpoint import read_progress
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.training import CPU, train_supernet


@pytest.fixture(scope="module")
def space() -> Space:
    """A space whose last maps of 8 px images are single positions, where BatchNorm needs two images."""
    return load_declaration("twins_cswin").space("nano", 28, 1, 2)


def noise(train: int, val: int = 4, side: int = 28) -> Data:
    """Grey noise of two classes: ``train`` images to train on, ``val`` to validate and to test."""
    count = train + 2 * val
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, side, side)).astype(np.uint8)
    images, labels = InMemoryImages(torch.from_numpy(pixels)), torch.arange(count) % 2

    def split(first: int, size: int) -> Split:
        members = torch.arange(first, first + size)
        return Split(images, members, labels[members], (0.5,), (0.3,), Augmentation("digits"))

    parts = {"train": split(0, train), "val": split(train, val), "test": split(train + val, val)}
    summary = DataSummary("noise", "0", side, 1, {"a": count, "b": count}, dict.fromkeys(parts, val))
    return Data(
        "noise", side, 1, ("a", "b"), (0.5,), (0.3,), parts["train"], parts["val"], Augmentation("digits"),
        "0", summary, 2, parts["test"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("images", "batch_size", "shards", "steps"),
    [(66, 64, 2, 1), (4, 64, 2, 1), (3, 64, 2, 1), (2, 64, 8, 1), (9, 8, 4, 1), (12, 4, 2, 3)],
)
def test_supernets_train_on_any_number_of_images(
    space: Space, tmp_path: Path, images: int, batch_size: int, shards: int, steps: int
) -> None:
    recipe = Recipe(epochs=2, batch_size=batch_size, shards=shards, lr=1e-3)
    settings, data = Settings(recipe=recipe), noise(images)
    assert steps_per_epoch(settings, data) == steps
    assert images // count_shards(settings, data) >= 2
    supernet = train_supernet(space, settings, data, tmp_path / "checkpoint", CPU)
    assert read_progress(tmp_path / "checkpoint") == (2 * steps, 2 * steps)
    assert all(torch.isfinite(value).all() for value in supernet.state_dict().values())


@pytest.mark.parametrize(("images", "batch_size"), [(9, 8), (2, 64), (5, 2), (17, 16)])
def test_networks_are_retrained_on_any_number_of_images(
    space: Space, tmp_path: Path, images: int, batch_size: int
) -> None:
    design = space.smallest
    recipe = Recipe(epochs=2, batch_size=batch_size, lr=1e-3)
    job = RetrainingJob(Design(design), "scratch", tmp_path / "job", recipe, "0")
    epochs = []
    payload = {"data": noise(images, val=1), "inherited": {}}
    train_one(job, payload, CPU, lambda result: epochs.append(result["epoch"]))
    assert epochs == [1, 2]
    assert read_json(job.result_file)["test_images"] == 1


@pytest.mark.parametrize("images", [2, 3, 17, 33, 240, 241, 255, 256, 300])
def test_calibration_images_come_in_parts_of_two_or_more(
    space: Space, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    monkeypatch.setattr(population, "evaluation_batch_size", lambda size: 16)  # as of 433 px
    payload = population.payload_from_data(Supernet(space), noise(images), 10, seed=0)
    sizes = [len(part) for part in payload["calibration"]]
    assert sizes and 2 <= min(sizes) and max(sizes) <= 16
    assert sum(sizes) >= min(images, 256) - 1  # 241 are 15 parts of 16 and a single image
