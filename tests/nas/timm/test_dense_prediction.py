"""An export is the backbone of a detector and of a segmentation network, which learn a few images."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork

import nas.timm  # noqa: F401  # registers the network
from nas.export.source_module import load_source
from tests.helpers.exports import write_export

SIDE = 64
# Left, top, right, bottom of a bright square in each image, and its class.
BOXES = ((8, 8, 32, 32), (28, 20, 60, 52), (4, 36, 24, 56), (36, 4, 56, 24))
LABELS = (1, 2, 1, 2)


class Pyramid(nn.Module):
    """What torchvision's detectors take for a backbone: maps of one width, by name."""

    def __init__(self, maps: nn.Module, channels: list[int], out_channels: int = 32) -> None:
        super().__init__()
        self.maps, self.out_channels = maps, out_channels
        self.fpn = FeaturePyramidNetwork(channels, out_channels)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        found = OrderedDict((str(number), x) for number, x in enumerate(self.maps(images)))
        pyramid: OrderedDict[str, Tensor] = self.fpn(found)
        return pyramid


def squares() -> Tensor:
    """Return dark noisy images ``(4, 3, 64, 64)`` with a square each, red or blue by its class."""
    images = 0.2 * torch.rand((len(BOXES), 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    for image, (left, top, right, bottom), label in zip(images, BOXES, LABELS, strict=True):
        image[2 * (label - 1), top:bottom, left:right] = 1
    return images


@pytest.fixture
def backbone(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    write_export(tmp_path / "model")
    return timm.create_model(f"local-dir:{tmp_path / 'model'}", features_only=True, pretrained=False)


def test_a_detector_learns(backbone: Any) -> None:
    info = backbone.feature_info
    sizes = tuple((2 * stride, 4 * stride) for stride in info.reduction())
    anchors = AnchorGenerator(sizes, ((1.0,),) * len(sizes))
    detector = RetinaNet(
        Pyramid(backbone, info.channels()), 3, anchor_generator=anchors, min_size=SIDE, max_size=SIDE
    )
    targets = [
        {"boxes": torch.tensor([box], dtype=torch.float), "labels": torch.tensor([label])}
        for box, label in zip(BOXES, LABELS, strict=True)
    ]
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    losses = []
    for _ in range(45):
        loss = sum(detector(list(squares()), targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    gradients = [parameter.grad for parameter in backbone.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    detector.eval()
    assert {"boxes", "labels", "scores"} == set(detector(list(squares()))[0])


def test_a_segmentation_network_learns(tmp_path: Path) -> None:
    """With the folder's own source, which knows nothing of timm."""
    torch.manual_seed(0)
    write_export(tmp_path / "model")
    network = load_source(tmp_path / "model").create_model()
    laterals = nn.ModuleList(nn.Conv2d(info["num_chs"], 16, 1) for info in network.feature_info)
    head = nn.Conv2d(16, 3, 3, padding=1)
    masks = torch.zeros(len(BOXES), SIDE, SIDE, dtype=torch.long)
    for mask, (left, top, right, bottom), label in zip(masks, BOXES, LABELS, strict=True):
        mask[top:bottom, left:right] = label
    parts = nn.ModuleList([network, laterals, head])
    optimizer = torch.optim.AdamW(parts.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        maps = network.forward_intermediates(squares(), intermediates_only=True)
        finest = maps[0].shape[2:]
        summed = sum(F.interpolate(each(x), finest) for each, x in zip(laterals, maps, strict=True))
        logits = F.interpolate(head(summed), (SIDE, SIDE), mode="bilinear")
        loss = F.cross_entropy(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert (logits.argmax(1) == masks).float().mean() > 0.9
