"""Subnets of every published family run on images of any size; maps that divide are left as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.published import PUBLISHED, published
from search_spaces.walk import walk_blocks
from supernet.subnet import build_subnet

FAMILIES = (
    "twins_pcpvt_small",
    "twins_svt_small",
    "cswin_tiny",
    "dwnet_tiny",
    "dwnet_tiny_dynamic",
    "dwnet_tiny_inhomogeneous",
    "refiner_vit_small",
    "swin_tiny",
)


def narrow(name: str) -> Architecture:
    """Return the design with 8 channels a head, heads and depths cut down, and all its operators and knobs."""
    design, stages = published(name), []
    for number, stage in enumerate(design.stages):
        heads = 2
        blocks = [slim(block) for block in dict.fromkeys(stage.blocks[:2] + stage.blocks[-2:])]
        stages.append(Stage(8 * (number + 1), heads, tuple(blocks), stage.downsample))
    return replace(design, stages=tuple(stages), num_classes=3)


def slim(block: Block) -> Block:
    knobs = dict(block.knobs)
    if "group_channels" in knobs:
        knobs["group_channels"] = 4
    return replace(block, knobs=tuple(knobs.items()), mlp_ratio=1)


def test_every_family_is_here() -> None:
    operators = {
        (p.block.operator, p.block.settings.get("dynamic"))
        for n in PUBLISHED
        for p in walk_blocks(published(n))
    }
    here = {
        (p.block.operator, p.block.settings.get("dynamic")) for n in FAMILIES for p in walk_blocks(narrow(n))
    }
    assert here == operators


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_any_size_runs(name: str) -> None:
    network = build_subnet(narrow(name)).eval()
    for size in ((224, 224), (256, 256), (320, 480)):
        images = torch.randn(1, 3, *size)
        assert network(images).isfinite().all()
        first = network.forward_intermediates(images, intermediates_only=True)[0]
        assert first.shape[2:] == (
            (size[0] // 16, size[1] // 16) if "refiner" in name else (size[0] // 4, size[1] // 4)
        )


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_padding_leaves_images_that_divide_unchanged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_subnet(narrow(name)).eval()
    images = torch.randn(1, 3, 224, 224)
    before = network(images)

    def refuse(*args: object, **kwargs: object) -> Tensor:
        raise AssertionError("a map that divides was padded or a table interpolated")

    monkeypatch.setattr(F, "pad", refuse)
    monkeypatch.setattr(F, "interpolate", refuse)
    assert torch.equal(network(images), before)
