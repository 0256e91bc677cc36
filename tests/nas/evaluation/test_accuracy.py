"""Recalibrated BatchNorm statistics are those of the images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nas.evaluation.accuracy import recalibrate


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
