"""The parts of a space are those of its designs, are told apart by their names, and make whole networks."""

from __future__ import annotations

from random import Random

import pytest
import torch

from nas.latency.parts import space_parts, timed_parts
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration
from search_spaces.published import published
from search_spaces.space import Space
from search_spaces.stage_maps import reachable_maps
from supernet.subnet import build_subnet


def test_parts_of_the_space_are_those_of_its_designs(forked: Space) -> None:
    reachable = {part.name: part for part in space_parts(forked)}
    rng, seen = Random(0), set[str]()
    for _ in range(400):
        for part in timed_parts(forked.sample(rng)):
            assert reachable[part.name] == part
            seen.add(part.name)
    assert seen == set(reachable)
    # 3 stems; on the maps of 2 sizes that they make: 3 downsamplings, 10 blocks a stage, the head
    assert len(seen) == 3 + 2 * (3 + 10 + 10 + 1)


@pytest.mark.parametrize(("scale", "side"), [("nano", 28), ("micro", 96), ("tiny", 224), ("small", 224)])
def test_names_tell_parts_apart(scale: str, side: int) -> None:
    space = load_declaration("twins_cswin").space(scale, side, 3, 10)
    # Were two parts called alike, fewer would be left than are built differently.
    found = space_parts(space)
    assert len(found) == len({part.name for part in found})
    blocks = {
        (block, feature_map)
        for maps, stage in zip(reachable_maps(space), space.stages, strict=True)
        for feature_map in maps
        for block in stage.blocks
    }
    assert len([part for part in found if part.name.startswith("block ")]) == len(blocks)


def test_parts_chain_to_the_whole_network(forked: Space) -> None:
    design = forked.largest
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        for part in timed_parts(design):
            assert x.shape[1:] == part.shape
            x = part.blueprint.build().eval()(x)
        assert x.shape == build_subnet(design).eval()(torch.rand(2, 3, 16, 16)).shape


def names_of(design: Architecture) -> list[str]:
    """Return the names of the distinct parts, first to last."""
    return list(dict.fromkeys(part.name for part in timed_parts(design)))


def test_parts_are_named_as_in_stored_tables(forked: Space) -> None:
    # To the letter: tables that were measured before are read by these names.
    assert names_of(forked.largest) == [
        "stem conv3x3_s2 on 16x16x3 to 8",
        "block operator=lsa window_size=2 pos=ape mlp_ratio=2.0 on 8x8x8 num_heads=2",
        "downsample conv3x3 on 8x8x8 to 12",
        "block operator=lsa window_size=2 pos=ape mlp_ratio=2.0 on 4x4x12 num_heads=4",
        "head on 4x4x12 to 5",
    ]
    # A class token makes the map a sequence; blocks apply the attention maps of the one before.
    refiner = "block operator=refiner"
    where = "pos=none mlp_ratio=3.0 on 1x197x384 num_heads=12"
    assert names_of(published("refiner_vit_small")) == [
        "stem refiner16x16 on 224x224x3 to 384",
        f"{refiner} maps=plain {where}",
        f"{refiner} expand_ratio=3 kernel_size=3 maps=shared {where}",
        f"{refiner} maps=plain_previous {where}",
        "head on 1x197x384 to 1000",
    ]
