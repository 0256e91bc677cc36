"""Every scale of the named spaces runs on an imitated GPU: its stems, downsamplings, blocks and heads; its supernet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

import search_spaces
from nas.latency.parts import TimedPart, timed_part
from nas.runtime.device import autocast
from search_spaces.architecture import Architecture, Stage
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from search_spaces.walk import BlockPart, walk
from supernet.blueprint import call
from supernet.subnet import build_on_meta
from supernet.supernet import Supernet
from tests.helpers.fake_device import FakeDevice, fake_device, require_on

FOLDER = Path(search_spaces.__file__).parent / "spaces"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SCALES = [(name, scale) for name in NAMES for scale in load_declaration(name).scales]


def space_of(name: str, scale: str) -> Space:
    return load_declaration(name).space(scale, in_channels=3, num_classes=10)


def showing_everything(space: Space) -> Iterator[TimedPart]:
    """Yield parts of a space until blocks have shown everything that ``values_of`` tells apart."""
    seen = set[object]()
    for stem, *downsamples in itertools.product(
        space.stems, *(stage.downsamples for stage in space.stages[1:])
    ):
        stages = tuple(
            Stage(stage.dim, stage.num_heads, stage.blocks, downsample)
            for stage, downsample in zip(space.stages, (None, *downsamples), strict=True)
        )
        everything = Architecture(
            stages, space.image_size, space.in_channels, space.num_classes, stem, space.style
        )
        for part in walk(everything):
            if isinstance(part, BlockPart):
                values = set(values_of(part))
                if values <= seen:
                    continue
                seen |= values
            yield timed_part(part, space.style)


def values_of(part: BlockPart) -> Iterator[object]:
    """Yield what a block shows: encodings, knobs, and whether the map has to be padded for them."""
    block, side = part.block, part.feature_map.height
    yield block.operator, block.pos
    yield block.operator, part.needs_attention
    for name, value in block.knobs:
        yield block.operator, name, value, isinstance(value, int) and side % value == 0


@pytest.mark.parametrize(("name", "scale"), SCALES)
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
