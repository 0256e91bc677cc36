"""A stage made deeper goes on with its sequence of blocks; made shallower it keeps all kinds of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.block_sequence import least_depth, repeat_blocks
from search_spaces.published import published

LSA, GSA, DW = (
    Block("lsa", {"window_size": 7}),
    Block("gsa", {"sr_ratio": 2}),
    Block("dwconv", {"kernel_size": 3, "dynamic": "none"}),
)
PEG = replace(LSA, pos="cpe")


def refiner(maps: str) -> Block:
    refining = {} if maps in ("plain", "plain_previous") else {"expand_ratio": 3, "kernel_size": 3}
    return Block("refiner", {"maps": maps, **refining})


OWN, ADDED, PLAIN, PLAIN_ADDED, SHARED = map(
    refiner, ("refined", "previous", "plain", "plain_previous", "shared")
)


@pytest.mark.parametrize(
    ("blocks", "deeper"),
    [
        ((LSA, GSA), (LSA, GSA, LSA, GSA, LSA)),
        ((PEG, GSA), (PEG, GSA, LSA, GSA, LSA, GSA)),
        ((PEG, GSA, LSA), (PEG, GSA, LSA, GSA, LSA, GSA)),
        ((LSA, GSA, GSA), (LSA, GSA, GSA, LSA, GSA, GSA, LSA)),
        ((LSA, GSA, GSA, LSA), (LSA, GSA, GSA, LSA, GSA, GSA, LSA)),
        ((PEG, LSA), (PEG, LSA, LSA, LSA)),
        # An encoding of every block, or of the attention, is the sequence's.
        ((PEG, replace(GSA, pos="cpe")), (PEG, replace(GSA, pos="cpe"), PEG, replace(GSA, pos="cpe"))),
        ((replace(LSA, pos="rpe"), DW), (replace(LSA, pos="rpe"), DW, replace(LSA, pos="rpe"), DW)),
        ((replace(LSA, pos="ape"), DW), (replace(LSA, pos="ape"), DW, LSA, DW)),
        # One block does not tell what it has as the first.
        ((PEG,), (PEG, PEG, PEG)),
        # Later blocks add the maps of the block before, which the first cannot.
        ((OWN, ADDED), (OWN, ADDED, ADDED, ADDED)),
        ((OWN, SHARED, SHARED), (OWN, SHARED, SHARED, SHARED)),
        (
            (PLAIN, SHARED, PLAIN_ADDED, SHARED),
            (PLAIN, SHARED, PLAIN_ADDED, SHARED, PLAIN_ADDED, SHARED, PLAIN_ADDED),
        ),
        ((OWN, ADDED, LSA), (OWN, ADDED, LSA, OWN, ADDED, LSA)),
        ((PLAIN, SHARED), (PLAIN, SHARED, PLAIN, SHARED)),
    ],
)
def test_deeper_stages_repeat_their_sequence(blocks: tuple[Block, ...], deeper: tuple[Block, ...]) -> None:
    assert repeat_blocks(blocks, len(deeper)) == deeper
    for depth in range(1, len(blocks) + 1):
        assert repeat_blocks(blocks, depth) == blocks[:depth]


@pytest.mark.parametrize(
    ("small", "large", "stage"),
    [
        ("twins_svt_small", "twins_svt_base", 2),
        ("twins_pcpvt_small", "twins_pcpvt_base", 2),
        ("twins_pcpvt_small", "twins_pcpvt_large", 1),
        ("cswin_tiny", "cswin_small", 0),
        ("swin_tiny", "swin_small", 2),
        ("dwnet_tiny_dynamic", "dwnet_base_dynamic", 2),
        ("refiner_vit_small", "refiner_vit_medium", 0),
    ],
)
def test_papers_make_their_networks_deeper_in_the_same_way(small: str, large: str, stage: int) -> None:
    shallow, deep = (published(name).stages[stage].blocks for name in (small, large))
    assert len(shallow) < len(deep)
    assert repeat_blocks(shallow, len(deep)) == deep
    assert repeat_blocks(deep, len(shallow)) == shallow


@settings(max_examples=200, deadline=None)
@given(
    blocks=st.lists(st.sampled_from([PEG, LSA, GSA, DW, OWN, PLAIN]), min_size=1, max_size=5), data=st.data()
)
def test_any_stage_can_be_any_depth(blocks: list[Block], data: st.DataObject) -> None:
    for index in range(1, len(blocks)):
        if blocks[index - 1].spec.returns_attention and data.draw(st.booleans()):
            blocks[index] = data.draw(st.sampled_from([ADDED, PLAIN_ADDED, SHARED]))
    for depth in (1, len(blocks), len(blocks) + 1, 3 * len(blocks)):
        repeated = repeat_blocks(blocks, depth)
        Architecture((Stage(8, 2, repeated),), (14, 14), stem="patch2x2")  # refuses maps that nobody hands on
        assert len(repeated) == depth
        # At any depth it is the beginning of any deeper one.
        assert repeat_blocks(blocks, depth + 2)[:depth] == repeated
        assert {block.operator for block in repeated} <= {block.operator for block in blocks}


def test_the_fewest_blocks_that_hold_all_kinds() -> None:
    half = Block("swin", {"window_size": 7, "shift": "half"}, "rpe")
    whole = replace(half, knobs={"window_size": 7, "shift": "none"})
    assert least_depth((LSA, LSA, GSA, LSA)) == 3
    assert least_depth((whole, half, whole, half)) == 2
    assert least_depth((PLAIN, SHARED, PLAIN_ADDED, SHARED)) == 3
    # Numbers and encodings make no other kind.
    assert least_depth((PEG, LSA, Block("lsa", {"window_size": 2}))) == 1
