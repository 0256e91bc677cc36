"""Stems and downsamplings of any name: sizes and costs by formula are those of the modules that are built."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs, part_cost
from search_spaces.geometry import downsampled_size, stem_size
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.walk import DownsamplePart, StemPart
from supernet.stem import ConvDownsample, ConvStem, RefinerStem
from supernet.subnet import build_subnet, downsample_blueprint, stem_blueprint
from tests.helpers.modules import counted_macs

SIDES = st.integers(1, 20)
PATCHES = SIDES.map(lambda side: f"patch{side}x{side}")
REFINERS = st.integers(1, 10).map(lambda half: f"refiner{2 * half}x{2 * half}")
CONVOLUTIONS = st.tuples(SIDES, st.integers(1, 9)).map(lambda pair: f"conv{sum(pair)}x{sum(pair)}_s{pair[0]}")
STEMS = st.one_of(PATCHES, REFINERS, CONVOLUTIONS)
DOWNSAMPLES = st.one_of(st.just("merging"), st.integers(2, 12).map(lambda side: f"conv{side}x{side}"))
IMAGES = st.tuples(st.integers(1, 120), st.integers(1, 120))
GSA = Block("gsa", (("sr_ratio", 1),))


def on_meta(module: nn.Module, *shape: int) -> Tensor:
    """Return what ``module`` makes of an input of a shape, without computing any value."""
    with torch.no_grad():
        found: Tensor = module.to("meta")(torch.empty(shape, device="meta"))
    return found


@settings(deadline=None, max_examples=150)
@given(STEMS, IMAGES)
def test_a_stem_s_size_and_cost_are_those_of_its_module(name: str, images: tuple[int, int]) -> None:
    height, width = (stem_size(name, side) for side in images)
    if min(height, width) < 1:
        return
    part = StemPart(name, 3, images, FeatureMap(8, 2, height, width))
    module = stem_blueprint(name, 3, part.feature_map, Style()).build().eval()
    assert on_meta(module, 2, 3, *images).shape == (2, height, width, 8)
    cost = part_cost(part, Style())
    assert cost.params == sum(p.numel() for p in module.parameters())
    assert cost.macs == counted_macs(module, torch.empty(1, 3, *images, device="meta"))


@settings(deadline=None, max_examples=100)
@given(DOWNSAMPLES, IMAGES)
def test_a_downsampling_s_size_and_cost_are_those_of_its_module(name: str, sides: tuple[int, int]) -> None:
    height, width = (downsampled_size(name, side) for side in sides)
    if min(height, width) < 1:
        return
    part = DownsamplePart(1, name, FeatureMap(6, 2, *sides), FeatureMap(10, 2, height, width))
    module = downsample_blueprint(name, 6, 10).build().eval()
    assert on_meta(module, 2, *sides, 6).shape == (2, height, width, 10)
    cost = part_cost(part, Style())
    assert cost.params == sum(p.numel() for p in module.parameters())
    assert cost.macs == counted_macs(module, torch.empty(1, *sides, 6, device="meta"))


@settings(deadline=None, max_examples=60)
@given(STEMS, IMAGES)
def test_where_the_formula_leaves_no_map_the_convolution_has_none(name: str, images: tuple[int, int]) -> None:
    if min(stem_size(name, side) for side in images) > 0:
        return
    module = stem_blueprint(name, 3, FeatureMap(8, 2, 1, 1), Style()).build().eval()
    try:
        found = on_meta(module, 1, 3, *images).numel()
    except RuntimeError:  # torch refuses kernels that are larger than the padded image
        found = 0
    assert found == 0


@settings(deadline=None, max_examples=30)
@given(STEMS, DOWNSAMPLES, st.integers(40, 96))
def test_a_whole_network_costs_what_is_counted(stem: str, downsample: str, side: int) -> None:
    if downsampled_size(downsample, stem_size(stem, side)) < 1:
        return
    stages = (Stage(8, 2, (GSA,)), Stage(16, 2, (GSA,), downsample))
    design = Architecture(stages, (side, side), num_classes=5, stem=stem)
    network = build_subnet(design).eval()
    found = costs(design)
    assert found.params == sum(p.numel() for p in network.parameters())
    assert found.macs == counted_macs(network, torch.zeros(1, 3, side, side))
    assert Architecture.from_json(design.to_json()).digest == design.digest


def test_the_papers_own_modules() -> None:
    """The arguments of nn.Conv2d in the papers' code: CSWin's two, Twins' patches of another size, Refiner's."""
    kind = FeatureMap(8, 2, 7, 7)
    cswin, patches = (stem_blueprint(name, 3, kind, Style()).build() for name in ("conv7x7_s4", "patch6x6"))
    assert isinstance(cswin, ConvStem) and isinstance(patches, ConvStem)
    assert (cswin.conv.kernel_size, cswin.conv.stride, cswin.conv.padding) == ((7, 7), (4, 4), (2, 2))
    assert (patches.conv.kernel_size, patches.conv.stride, patches.conv.padding) == ((6, 6), (6, 6), (0, 0))
    merge, twins = (downsample_blueprint(name, 8, 16).build() for name in ("conv3x3", "conv2x2"))
    assert isinstance(merge, ConvDownsample) and isinstance(twins, ConvDownsample)
    assert (merge.conv.kernel_size, merge.conv.stride, merge.conv.padding) == ((3, 3), (2, 2), (1, 1))
    assert (twins.conv.kernel_size, twins.conv.stride, twins.conv.padding) == ((2, 2), (2, 2), (0, 0))
    refiner = stem_blueprint("refiner12x12", 3, kind, Style()).build()
    assert isinstance(refiner, RefinerStem)
    assert (refiner.proj.kernel_size, refiner.proj.stride) == ((6, 6), (6, 6))
