"""A design for smaller images than the data's is trained and scored on these images made smaller, against hand work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.augment import Augmentation
from nas.data.dataset import Data
from nas.runtime.documents import read_json
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.training.epoch_history import FILE_NAME, Epoch, read_history
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.subnet_step import subnet_step
from search_spaces.architecture import Architecture, Block, Stage
from supernet.network import Network
from supernet.subnet import build_subnet
from tests.helpers.modules import randomised
from tests.helpers.noise import TRAIN, three_splits
from tests.helpers.training import CPU

#: For images of 8 px, of those of 16 px that there are; LayerNorms alone, so that no step changes what is compared.
DESIGN = Architecture(
    (Stage(8, 2, (Block("lsa", {"window_size": 2}), Block("gsa", {"sr_ratio": 1}))),),
    (8, 8),
    3,
    3,
    "patch2x2",
)
#: One step of all images, too small to change weights.
STILL = Recipe(epochs=1, batch_size=TRAIN, lr=1e-30, label_smoothing=0.0)


def noise(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))


def smaller(images: Tensor) -> Tensor:
    return F.interpolate(images, size=(8, 8), mode="bicubic", antialias=True)


@pytest.fixture
def network() -> Network:
    """A network that is sure of its answers, and gives no image of noise the same as all others."""
    network = randomised(build_subnet(DESIGN))
    with torch.no_grad():
        network.head.weight.mul_(300)
        network.head.bias.sub_(network(smaller(noise(64))).mean(0))
    return network


@torch.no_grad()
def loss_of(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(network(images), labels))


def batch() -> tuple[Tensor, Tensor]:
    return noise(6), torch.arange(6) % 3


def test_a_step_is_of_images_made_smaller(network: Network) -> None:
    images, labels = batch()
    expected, of_full = (loss_of(network, each, labels) for each in (smaller(images), images))
    assert abs(expected - of_full) > 0.02  # the network takes both sizes
    loss = float(subnet_step(network, STILL, CPU, image_size=(8, 8))(0, images, labels))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert float(subnet_step(network, STILL, CPU)(0, images, labels)) == pytest.approx(of_full, rel=1e-5)


def test_a_teacher_answers_about_images_of_full_size(network: Network) -> None:
    images, labels = batch()
    shown: list[Tensor] = []

    def answer(given: Tensor) -> Tensor:
        shown.append(given)
        return torch.zeros(len(given), 3)

    subnet_step(network, STILL, CPU, teaching=answer, image_size=(8, 8))(0, images, labels)
    assert len(shown) == 1 and torch.equal(shown[0], images)


def test_a_retraining_trains_and_reports_on_images_made_smaller(network: Network, tmp_path: Path) -> None:
    """Images of validation and test are labelled as the unchanged weights answer about them made smaller by hand."""
    network.eval()
    data = labelled_by(network)
    job = RetrainingJob(Design(DESIGN), "inherit", tmp_path, STILL, "0", "0")
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    reports: list[dict[str, Any]] = []
    train_one(job, {"data": data, "inherited": {DESIGN.digest: weights}}, CPU, reports.append)

    seed, augment = STILL.seed, data.augmentation
    ((images, labels),) = data.train.batches(TRAIN, shuffle_seed=seed, augment=augment)
    expected, of_full = (loss_of(network, each, labels) for each in (smaller(images), images))
    assert abs(expected - of_full) > 0.02
    (epoch,) = read_history(tmp_path / FILE_NAME, Epoch)
    assert epoch.loss == pytest.approx(expected, rel=1e-5)

    result = read_json(job.result_file)
    tops = [result["val_top1"], result["test_top1"], *(report["top1"] for report in reports)]
    assert set(tops) == {100.0} and len(reports) == 1


@torch.no_grad()
def labelled_by(network: nn.Module) -> Data:
    """Return noise of which validation and test are the training images, with a network's answers as labels."""
    data = three_splits(Augmentation("small"))
    ((images, _),) = data.train.batches(TRAIN)
    answers = network(smaller(images)).argmax(1)
    assert (answers != network(images).argmax(1)).sum() > 2
    answered = replace(data.train, labels=answers)
    return replace(data, val=answered, _test=answered)
