"""Stems and downsamplings of any name: sizes and costs by formula are those of the modules that are built."""

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.pvt_v2 import OverlapPatchEmbed
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs, part_cost
from search_spaces.errors import ArchitectureError
from search_spaces.geometry import downsample_geometry, downsampled_size, stem_geometry, stem_size
from search_spaces.operators import FeatureMap
from search_spaces.published import published
from search_spaces.skeleton import Style
from search_spaces.walk import DownsamplePart, StemPart
from supernet.stem import ConvDownsample, ConvStem, RefinerStem
from supernet.subnet import build_subnet, downsample_blueprint, network_blueprint, stem_blueprint
from tests.helpers.modules import counted_macs

SIDES = st.integers(1, 20)
PATCHES = st.tuples(SIDES, SIDES).map(lambda sides: f"patch{sides[0]}x{sides[1]}")
REFINERS = st.integers(1, 10).map(lambda half: f"refiner{2 * half}x{2 * half}")


@st.composite
def convolutions(draw: st.DrawFn, what: str = "stem") -> str:
    """Return the name of a convolution of any geometry: sides, strides and padding of rows and of columns."""
    rows, columns = draw(SIDES), draw(SIDES)
    strides = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    padding = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return own_name(what, f"conv{rows}x{columns}_s{strides[0]}x{strides[1]}_p{padding[0]}x{padding[1]}")


def own_name(what: str, name: str) -> str:
    """Return the one name of what a longer one says, as the error about the longer one has it."""
    try:
        stem_geometry(name) if what == "stem" else downsample_geometry(name)
    except ArchitectureError as error:
        return str(error).split("'")[3]
    return name


STEMS = st.one_of(PATCHES, REFINERS, convolutions())
DOWNSAMPLES = st.one_of(st.just("merging"), convolutions("downsample"))
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
    height, width = stem_size(name, images)
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
    height, width = downsampled_size(name, sides)
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
    if min(stem_size(name, images)) > 0:
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
    if min(*(size := stem_size(stem, (side, side))), *downsampled_size(downsample, size)) < 1:
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


def test_pvtv2_s_patch_embeddings_are_ours() -> None:
    """timm's, with its weights: the stem of 7x7 pixels every 4, padded by 3, and the 3x3 of the stages after."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 33, 50)
    stem = stem_blueprint("conv7x7_s4_p3", 3, FeatureMap(8, 2, 9, 13), Style()).build()
    theirs = OverlapPatchEmbed(7, 4, 3, 8)
    stem.load_state_dict({name.replace("proj", "conv"): value for name, value in theirs.state_dict().items()})
    first, expected = stem(images), theirs(images)
    assert first.shape == (2, *stem_size("conv7x7_s4_p3", (33, 50)), 8) == (2, 9, 13, 8)
    torch.testing.assert_close(first, expected)
    downsample, theirs = downsample_blueprint("conv3x3", 8, 16).build(), OverlapPatchEmbed(3, 2, 8, 16)
    downsample.load_state_dict(
        {name.replace("proj", "conv"): value for name, value in theirs.state_dict().items()}
    )
    torch.testing.assert_close(downsample(first), theirs(first.permute(0, 3, 1, 2)))
    # By hand: 7 * 7 * 3 products a channel at 56 x 56 positions; its weights, biases and the norm's two.
    cost = part_cost(StemPart("conv7x7_s4_p3", 3, (224, 224), FeatureMap(64, 1, 56, 56)), Style())
    assert (cost.macs, cost.params) == (29_503_488, 9_600)


def test_swin_with_patches_that_are_not_square_has_timm_s_parameters_and_maps() -> None:
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", patch_size=(8, 4), img_size=(448, 224), num_classes=10
    )
    ours = replace(published("swin_tiny"), stem="patch8x4", image_size=(448, 224), num_classes=10)
    assert costs(ours).params == sum(parameter.numel() for parameter in theirs.parameters())
    assert ours.maps()[0] == theirs.patch_embed.grid_size == (56, 56)
    with torch.device("meta"):
        network = network_blueprint(ours).build()
    assert [each["reduction"] for each in network.feature_info] == [
        each["reduction"] for each in theirs.feature_info
    ]
    stem = network_blueprint(ours).build().stem
    stem.load_state_dict(
        {name.replace("proj", "conv"): value for name, value in theirs.patch_embed.state_dict().items()}
    )
    images = torch.randn(1, 3, 448, 224)
    torch.testing.assert_close(stem(images), theirs.patch_embed(images))
