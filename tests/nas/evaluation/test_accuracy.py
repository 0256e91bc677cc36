"""Recalibrated BatchNorm statistics are those of the images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nas.evaluation.accuracy import AccuracyMeter, accuracy, pack_bits, recalibrate


def test_recalibrate_takes_the_statistics_of_the_images() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3))
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean.fill_(50)  # type: ignore[union-attr]
    batches = [torch.randn(16, 3, 8, 8) * 3 + 1 for _ in range(4)]
    recalibrate(network, batches)
    with torch.no_grad():
        maps = [network[0](batch) for batch in batches]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    var = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.momentum == 0.3 and not network.training and not norm.training
    recalibrate(network, batches)  # a second time changes nothing
    torch.testing.assert_close(norm.running_mean, mean)


def test_recalibrate_leaves_networks_without_batchnorm_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).train()

    def never() -> Iterator[Tensor]:
        raise AssertionError("no image is needed")
        yield torch.empty(0)

    recalibrate(network, never())
    assert network.training


def test_a_meter_keeps_which_images_were_right() -> None:
    meter = AccuracyMeter()
    one = torch.eye(6)  # each of six images is taken for the class of its row
    meter.add(one[:4], torch.tensor([0, 1, 5, 3]))
    meter.add(one[4:], torch.tensor([5, 5]))
    scores = meter.scores()
    assert (scores["images"], scores["correct"]) == (6, 0b110101)
    assert scores["top1"] == pytest.approx(100 * 4 / 6)
    assert accuracy(nn.Identity(), [(one, torch.arange(6))])["correct"] == 0b111111


@pytest.mark.parametrize("count", [1, 7, 8, 9, 500])
def test_bits_have_the_first_image_highest(count: int) -> None:
    right = torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.5
    assert f"{pack_bits(right):0{count}b}" == "".join(str(int(flag)) for flag in right)
