"""Every scale of the named spaces runs on an imitated GPU: its stems, downsamplings, blocks and heads; its supernet."""

from __future__ import annotations

from random import Random

import pytest
import torch

from nas.runtime.device import autocast
from supernet.blueprint import call
from supernet.subnet import build_on_meta
from supernet.supernet import Supernet
from tests.helpers.fake_device import FakeDevice, fake_device, require_on
from tests.helpers.named_spaces import SCALES, showing_everything, space_of


@pytest.mark.parametrize(
    ("name", "scale"),
    [pytest.param(*pair, marks=[] if pair[1] == "nano" else pytest.mark.slow) for pair in SCALES],
)
def test_every_part_runs_on_a_gpu(name: str, scale: str) -> None:
    parts = {part.name: part for part in showing_everything(space_of(name, scale))}
    modules = [build_on_meta(part.blueprint) for part in parts.values()]
    with fake_device("cuda") as (device, watch):
        for part, module in zip(parts.values(), modules, strict=True):
            module.to_empty(device=device)
            with autocast(device):
                out = module(torch.zeros(2, *part.shape, device=device))
            out = out[0] if isinstance(out, tuple) else out
            assert out.device.type == "cuda", part.name
            out.sum().backward()
            require_on(device, module)
            assert not watch.waits and not watch.uploads, part.name


@pytest.mark.parametrize("kind", ["cuda", "lazy"])
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(*pair, marks=[] if pair[1] == "nano" and pair[0] == "twins_cswin" else pytest.mark.slow)
        for pair in SCALES
    ],
)
def test_paths_of_the_supernet_run_on_a_gpu(name: str, scale: str, kind: FakeDevice) -> None:
    space = space_of(name, scale)
    supernet = build_on_meta(call(Supernet, space, "operator"))
    labels = torch.zeros(2, dtype=torch.long)
    with fake_device(kind) as (device, watch):
        supernet.to_empty(device=device)
        images, there = torch.zeros(2, 3, *space.image_size, device=device), labels.to(device)
        watch.uploads.clear()
        for path in (space.largest, space.smallest, space.sample(Random(0))):
            with autocast(device):
                loss = torch.nn.functional.cross_entropy(supernet(images, path).float(), there)
            loss.backward()
        require_on(device, supernet)
        assert not watch.waits and not watch.uploads
