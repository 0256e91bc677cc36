"""Published families at a budget: within 2%, in and outside a space."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.published import published
from search_spaces.refit import refit
from search_spaces.scaling import scale_to_macs
from tests.helpers.space_examples import mixed, space

FAMILIES = [
    "twins_svt_small",
    "twins_pcpvt_small",
    "cswin_tiny",
    "dwnet_tiny",
    "dwnet_tiny_dynamic",
    "swin_tiny",
]


def operators(design: Architecture) -> list[set[str]]:
    return [{block.operator for block in stage.blocks} for stage in design.stages]


@pytest.mark.parametrize("dim", [6, 10, 18, 22, 26])
def test_the_one_width_that_meets_a_budget_is_found(dim: int) -> None:
    """A stage of two heads has even widths: their neighbours miss by a tenth, another depth changes more."""
    blocks = (Block("dwconv", {"kernel_size": 3, "dynamic": "none"}),)
    design = Architecture((Stage(20, 2, blocks),), (32, 32), 3, 10, "conv3x3_s2")
    wanted, *others = (
        replace(design, stages=(replace(design.stages[0], dim=width),)) for width in (dim, dim - 2, dim + 2)
    )
    assert all(abs(costs(other).macs / costs(wanted).macs - 1) > 0.1 for other in others)
    assert scale_to_macs(design, costs(wanted).macs) == wanted


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_shallower_stage_keeps_all_kinds_of_blocks(share: float) -> None:
    """LSA comes last: of fewer blocks none would be left of it."""
    conv, lsa = Block("dwconv", {"kernel_size": 3, "dynamic": "none"}), Block("lsa", {"window_size": 4})
    design = Architecture((Stage(32, 2, (conv, conv, conv, lsa)),), (32, 32), 3, 10, "conv3x3_s2")
    scaled = scale_to_macs(design, share * costs(design).macs)
    assert scaled.stages[0].dim < 32
    assert operators(scaled) == operators(design)


@pytest.mark.parametrize("name", FAMILIES)
@settings(deadline=None, max_examples=2)
@given(budget=st.floats(3e6, 30e6))
def test_a_family_meets_a_budget_on_small_images(name: str, budget: float) -> None:
    design = refit(published(name), (32, 32), 3, 10)
    scaled = scale_to_macs(design, budget)
    assert abs(costs(scaled).macs / budget - 1) <= 0.02
    assert operators(scaled) == operators(design)
    assert [stage.num_heads for stage in scaled.stages] == [stage.num_heads for stage in design.stages]
    assert (scaled.image_size, scaled.num_classes, scaled.style) == (design.image_size, 10, design.style)


def test_proportions_stay() -> None:
    # 4.3 G of 2.9 G: (4.3/2.9)^(1/5) = 1.08 times as deep and (4.3/2.9)^(2/5) = 1.17 times as wide changes least.
    scaled = scale_to_macs(published("twins_svt_small"), 4.3e9)
    widths = [stage.dim / dim for stage, dim in zip(scaled.stages, (64, 128, 256, 512), strict=True)]
    assert all(1.1 < width < 1.25 for width in widths)
    assert max(widths) / min(widths) < 1.05
    assert 17 <= sum(len(stage.blocks) for stage in scaled.stages) <= 22  # of 18


def test_a_design_that_meets_the_budget_stays_as_it_is() -> None:
    design = published("cswin_tiny")
    assert scale_to_macs(design, 1.01 * costs(design).macs) is design


@pytest.mark.parametrize("name", ["twins_svt_small", "swin_tiny"])
def test_operators_and_shifts_take_turns_at_every_depth(name: str) -> None:
    design = published(name)
    turns = [[_kind(block) for block in stage.blocks[:2]] for stage in design.stages]
    depths = set()
    for budget in (6e8, 2e10):
        scaled = scale_to_macs(design, budget)
        depths |= {len(stage.blocks) for stage in scaled.stages}
        for stage, both in zip(scaled.stages, turns, strict=True):
            kinds = [_kind(block) for block in stage.blocks]
            assert kinds == [both[index % 2] for index in range(len(kinds))] and set(kinds) == set(both)
            assert stage.blocks[0].pos == design.stages[0].blocks[0].pos
            assert {block.pos for block in stage.blocks[1:]} <= {design.stages[0].blocks[1].pos}
    assert depths - {len(stage.blocks) for stage in design.stages}


def _kind(block: Block) -> tuple[str, object]:
    return block.operator, block.settings.get("shift")


def test_what_cannot_be_scaled_is_said_with_the_nearest() -> None:
    design = refit(published("refiner_vit_small"), (32, 32), 3, 10)
    with pytest.raises(
        ArchitectureError, match=r"cannot be scaled to 2M MACs within 2%; the nearest have \d+"
    ):
        scale_to_macs(design, 2e6)


# -- in a space -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_closest_design_of_a_space(share: float) -> None:
    chosen = mixed()
    low, high = costs(chosen.smallest).macs, costs(chosen.largest).macs
    budget = low + share * (high - low)
    design = chosen.closest(budget)
    assert chosen.contains(design)
    assert abs(costs(design).macs / budget - 1) < 0.005
    assert design == chosen.closest(budget)


def test_the_closest_of_a_small_space_is_the_nearest_of_all() -> None:
    chosen = space("widths")
    every = sorted(costs(design).macs for design in chosen.enumerate())
    for budget in (every[0], every[len(every) // 2], every[-1], 10 * every[-1]):
        nearest = min(every, key=lambda macs: abs(macs - budget))
        found = costs(chosen.closest(budget)).macs
        assert abs(found - budget) <= 1.03 * abs(nearest - budget) + 0.02 * budget


def test_a_family_in_a_space_keeps_its_operators() -> None:
    chosen = space("widths")  # of LSA and depth-wise convolutions
    low, high = costs(chosen.smallest).macs, costs(chosen.largest).macs
    found = [chosen.closest(budget, like=published("dwnet_tiny")) for budget in (low, high / 2, high)]
    assert all(chosen.contains(design) and operators(design) == [{"dwconv"}, {"dwconv"}] for design in found)
    macs = [costs(design).macs for design in found]
    assert macs == sorted(macs) and macs[2] > 2.5 * macs[0]


def test_a_family_that_a_space_lacks_is_refused() -> None:
    dw_only = space("widths")
    stages = tuple(replace(stage, operators=stage.operators[:1]) for stage in dw_only.stages)
    with pytest.raises(SpaceError, match="has no design like the one to follow"):
        replace(dw_only, stages=stages).closest(1e5, like=published("cswin_tiny"))


def test_one_stage_scales_by_its_own() -> None:
    blocks = (Block("dwconv", {"kernel_size": 3, "dynamic": "none"}),) * 2
    design = Architecture((Stage(32, 1, blocks),), (32, 32), 3, 10, "conv3x3_s2")
    for budget in (1e6, 2e7):
        assert abs(costs(scale_to_macs(design, budget)).macs / budget - 1) <= 0.02
