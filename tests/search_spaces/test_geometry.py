"""Names of stems and downsamplings: the geometry of each, and what refuses the others."""

from __future__ import annotations

import pytest

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.declaration import parse_declaration
from search_spaces.errors import ArchitectureError
from search_spaces.geometry import (
    Convolution,
    ConvolutionalPatches,
    Merging,
    Pair,
    downsample_geometry,
    downsampled_size,
    stem_geometry,
    stem_size,
)


def pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


@pytest.mark.parametrize(
    ("name", "kernel_size", "stride", "padding"),
    [
        ("patch4x4", 4, 4, 0),  # Twins, PVT, Swin and DWNet with patch_size 4
        ("patch16x16", 16, 16, 0),  # ViT and Refiner-ViT without convolutions
        ("patch6x6", 6, 6, 0),
        ("patch1x1", 1, 1, 0),
        ("patch4x2", (4, 2), (4, 2), 0),  # Swin and DWNet with patch_size (4, 2)
        ("conv7x7_s4", 7, 4, 2),  # CSWin: Conv2d(3, C, 7, 4, 2)
        ("conv7x7_s4_p3", 7, 4, 3),  # PVTv2: Conv2d(3, C, 7, 4, 7 // 2)
        ("conv7x7_s4_p0", 7, 4, 0),
        ("conv4x4_s4_p1", 4, 4, 1),
        ("conv7x5_s4x2", (7, 5), (4, 2), 2),
        ("conv7x5_s4x2_p3x1", (7, 5), (4, 2), (3, 1)),
        ("conv3x3_s2", 3, 2, 1),
        ("conv3x3_s1", 3, 1, 1),
        ("conv5x5_s3", 5, 3, 1),
        ("conv4x4_s2", 4, 2, 1),
        ("conv999x999_s998", 999, 998, 1),
    ],
)
def test_stems_of_one_convolution(
    name: str, kernel_size: int | Pair, stride: int | Pair, padding: int | Pair
) -> None:
    assert stem_geometry(name) == Convolution(pair(kernel_size), pair(stride), pair(padding))


@pytest.mark.parametrize("side", [2, 4, 12, 16, 998])
def test_refiner_s_stem_halves_the_image_and_takes_patches_of_half_the_side(side: int) -> None:
    geometry = stem_geometry(f"refiner{side}x{side}")
    assert geometry == ConvolutionalPatches(side)
    assert geometry.kernel_size == (side // 2, side // 2)


@pytest.mark.parametrize(
    ("name", "kernel_size", "stride", "padding"),
    [
        ("conv2x2", 2, 2, 0),
        ("conv3x3", 3, 2, 1),
        ("conv4x4", 4, 2, 1),
        ("conv5x5", 5, 2, 2),
        ("conv3x3_p0", 3, 2, 0),
        ("conv2x3", (2, 3), 2, (0, 1)),
        ("conv3x3_s1", 3, 1, 1),  # PoolFormer's patch embedding with down_stride 1 and 4
        ("conv5x5_s4_p2", 5, 4, 2),
    ],
)
def test_downsamplings_have_stride_2_unless_they_say_another(
    name: str, kernel_size: int | Pair, stride: int, padding: int | Pair
) -> None:
    assert downsample_geometry(name) == Convolution(pair(kernel_size), pair(stride), pair(padding))
    assert downsample_geometry("merging") == Merging()


def test_sizes_by_hand() -> None:
    # 7 px after 3x3 every 2, padded by one: kernels at -1, 1, 3, 5.
    assert stem_size("conv3x3_s2", (7, 8)) == (4, 4)
    assert stem_size("patch6x6", (96, 5)) == (16, 0)
    # CSWin on 224 px; 97 px and padding of 2 on both sides hold (101 - 7) // 4 + 1 kernels.
    assert stem_size("conv7x7_s4", (224, 97)) == (56, 24)
    # PVTv2: padding of 3 holds (103 - 7) // 4 + 1; none at all (224 - 7) // 4 + 1 and (97 - 7) // 4 + 1.
    assert stem_size("conv7x7_s4_p3", (224, 97)) == (56, 25)
    assert stem_size("conv7x7_s4_p0", (224, 97)) == (55, 23)
    # Rows before columns.
    assert stem_size("patch4x2", (96, 96)) == (24, 48)
    # Refiner-ViT: 100 px are halved to 50, which hold 8 patches of 6 pixels.
    assert stem_size("refiner12x12", (100, 9)) == (8, 0)
    names = ("conv2x2", "conv3x3", "conv4x4", "merging", "conv2x3", "conv3x3_s1")
    assert [downsampled_size(name, (7, 8)) for name in names] == [
        (3, 4),
        (4, 4),
        (3, 4),
        (4, 4),
        (3, 4),
        (7, 8),
    ]


def test_one_position_for_every_stride() -> None:
    names = ["conv7x7_s4", "conv7x7_s4_p3", "patch4x2", "refiner8x8", "conv7x7_s4_p0", "conv6x6_s2_p3"]
    # 6x6 every 2, padded by 3: kernels at -3, -1 and so on, one more than half of the side.
    assert [stem_geometry(name).keeps_ratio for name in names] == [True] * 4 + [False] * 2
    assert stem_size("conv6x6_s2_p3", (8, 8)) == (5, 5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("patch6", ["unknown stem 'patch6'", "patch<k>x<k>", "did you mean 'patch6x6'?"]),
        ("patch12x", ["unknown stem", "did you mean 'patch12x12'?"]),
        ("patch04x04", ["unknown stem", "did you mean 'patch4x4'?"]),
        ("patch0x0", ["unknown stem"]),
        ("patch1000x1000", ["unknown stem", "k at most 999"]),
        ("patch٤x٤", ["unknown stem"]),
        ("patch4x4_s4", ["unknown stem", "did you mean 'patch4x4'?"]),
        ("patch4x4\n", [r"unknown stem 'patch4x4\n'"]),
        ("conv5x5", ["unknown stem", "conv<k>x<k>_s<stride>", "did you mean 'conv5x5_s2'?"]),
        ("conv7_s4", ["unknown stem", "did you mean 'conv7x7_s4'?"]),
        ("refiner14", ["unknown stem", "did you mean 'refiner14x14'?"]),
        ("refiner7x7", ["patches of an odd side", "with an even k", "did you mean 'refiner8x8'?"]),
        ("conv3x3_s4", ["would skip pixels between kernels of side 3 every 4", "a stride of at most k"]),
        ("conv7x3_s4", ["would skip pixels between kernels of side 3 every 4"]),
        ("conv3x3_s2_p3", ["kernels of side 3 that see nothing but 3 zeros"]),
        ("conv4x4_s4", ["is another name of 'patch4x4'"]),
        ("conv4x2_s4x2_p0", ["is another name of 'patch4x2'"]),
        ("conv7x7_s4_p2", ["is another name of 'conv7x7_s4'; write that"]),
        ("conv7x7_s4x4", ["is another name of 'conv7x7_s4'"]),
        ("conv7x7_s4_p3x3", ["is another name of 'conv7x7_s4_p3'"]),
        ("conv7x7_p3", ["unknown stem", "conv<k>x<k>_s<stride>_p<padding>"]),
        ("conv7x7_s4_p03", ["unknown stem", "_p<padding>"]),
        ("refiner8x16", ["unknown stem", "did you mean 'refiner16x16'?"]),
        ("merging", ["unknown stem 'merging'"]),
        (None, ["unknown stem None"]),
        (["patch4x4"], ["unknown stem ['patch4x4']"]),
    ],
)
def test_refused_stems(name: object, said: list[str]) -> None:
    with pytest.raises(ArchitectureError) as caught:
        stem_geometry(name)
    assert "\n" not in str(caught.value)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conv6", ["unknown downsample 'conv6'", "merging, or conv<k>x<k>", "did you mean 'conv6x6'?"]),
        ("conv2x", ["unknown downsample", "whose stride is 2", "did you mean 'conv2x2'?"]),
        ("conv3x3_s2", ["is another name of 'conv3x3'"]),
        ("conv3x3_p1", ["is another name of 'conv3x3'"]),
        ("conv1x1", ["would skip pixels between kernels of side 1 every 2"]),
        ("Merging", ["unknown downsample", "did you mean 'merging'?"]),
        (7, ["unknown downsample 7"]),
    ],
)
def test_refused_downsamplings(name: object, said: list[str]) -> None:
    with pytest.raises(ArchitectureError) as caught:
        downsample_geometry(name)
    for part in said:
        assert part in str(caught.value)


def test_a_space_and_a_design_of_new_members() -> None:
    text = """
name: members
blocks: {mlp_ratio: 2, operators: {lsa: {window_size: 2}}}
scales:
  one:
    images: [48, 64]
    stem: [patch6x6, conv5x5_s3, refiner12x12]
    stages:
      - {dim: 8, num_heads: 2, depth: 1}
      - {dim: 16, num_heads: 2, depth: 1, downsample: [conv4x4, conv5x5]}
"""
    space = parse_declaration(text, "members.yaml").space()
    assert space.size == 6
    assert {design.maps() for design in space.enumerate()} == {
        ((8, 8), (4, 4)),
        ((16, 16), (8, 8)),
        ((4, 4), (2, 2)),
    }
    for design in space.enumerate():
        assert Architecture.from_json(design.to_json()) == design


#: Of the designs below, by the list of names that came before the grammar (commit 222f2d7).
DIGESTS = [
    "ac1012a5b009",
    "7cd4f0909ec6",
    "f8fa857445d4",
    "b9f4a22fa683",
    "aeb9e58d0c04",
    "e9c5f1da1e92",
    "189e8cbfe120",
]


def test_the_names_of_earlier_versions_keep_their_digests() -> None:
    block = Block("gsa", (("sr_ratio", 1),))
    old = ["patch4x4", "conv7x7_s4", "conv3x3_s2", "conv3x3_s1", "refiner16x16", "patch2x2", "refiner32x32"]
    designs = [
        Architecture((Stage(16, 2, (block,)), Stage(16, 2, (block,), downsample)), (64, 64), stem=stem)
        for stem, downsample in zip(old, ["conv2x2", "conv3x3", "merging"] * 3, strict=False)
    ]
    assert [design.digest for design in designs] == DIGESTS
