"""Declarations: what is wrong is said with file, key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import SpaceError

GOOD = """
name: demo
summary: for tests
blocks:
  mlp_ratio: [4, 2]
  operators:
    lsa: {window_size: [2, 4], pos: [none, rpe]}
    dwconv: {kernel_size: 3, dynamic: [none, homogeneous]}
scales:
  small:
    images: [16, 32]
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [2, 1]}
      - {dim: 16, num_heads: 2, depth: 2, downsample: conv2x2}
  large:
    images: [64, 128]
    stem: [patch4x4, conv7x7_s4]
    style: {norm_eps: 0.00001, qkv_bias: false}
    stages:
      - {dim: 16, num_heads: 2, depth: 3, mlp_ratio: 3}
      - dim: 32
        num_heads: 4
        depth: 1
        downsample: merging
        operators: {dwconv: null, lsa: {window_size: 8}, gsa: {sr_ratio: [1, 2]}}
"""


def test_a_good_declaration() -> None:
    declaration = parse_declaration(GOOD, "demo.yaml")
    assert (declaration.name, declaration.summary) == ("demo", "for tests")
    assert declaration.scales == {"small": (16, 32), "large": (64, 128)}
    small, large = declaration.space("small"), declaration.space("large", in_channels=1, num_classes=7)
    assert (small.image_size, small.stems, small.num_classes) == ((16, 16), ("conv3x3_s2",), 1000)
    assert (large.image_size, large.in_channels, large.num_classes) == ((64, 64), 1, 7)
    assert (large.style.norm_eps, large.style.qkv_bias) == (1e-5, False)
    first, second = small.stages
    assert (first.depths, first.mlp_ratios, first.downsamples) == ((1, 2), (2.0, 4.0), ())
    assert (second.depths, second.downsamples) == ((2,), ("conv2x2",))
    assert [choice.name for choice in first.operators] == ["lsa", "dwconv"]


def test_a_stage_replaces_options_and_leaves_operators_out() -> None:
    first, second = parse_declaration(GOOD, "demo.yaml").space("large").stages
    assert [choice.name for choice in second.operators] == ["lsa", "gsa"]
    assert second.operators[0].knobs == (("window_size", (8,)),)
    assert second.operators[0].pos == ("none", "rpe")
    assert first.operators[0].knobs == (("window_size", (2, 4)),)
    assert first.mlp_ratios == (3.0,)


def test_the_images_pick_the_scale() -> None:
    declaration = parse_declaration(GOOD, "demo.yaml")
    assert declaration.scale_for(16) == declaration.scale_for(32) == "small"
    assert declaration.scale_for(100) == declaration.space(image_size=100).scale == "large"
    assert declaration.space().scale == "small"
    assert declaration.space("small", 40).image_size == (40, 40)
    with pytest.raises(
        SpaceError, match=r"demo\.yaml: no scale .* 48 px \(small 16-32 px, large 64-128 px\)"
    ):
        declaration.space(image_size=48)
    # Meant for 16-32 and 64-128 px; 48 is as near to 32 as to 64, and the first scale has it.
    sides = (1, 16, 20, 47, 48, 49, 64, 100, 1000)
    assert [declaration.nearest_side(side) for side in sides] == [16, 16, 20, 32, 32, 64, 64, 100, 128]
    with pytest.raises(SpaceError, match=r"demo\.yaml: unknown scale 'smal' .*did you mean 'small'"):
        declaration.space("smal")


# What is written instead of a part of GOOD, and what the message must say.
MALFORMED = [
    ("not yaml", GOOD, "name: [", ["not valid YAML", "line 1"]),
    ("a list", GOOD, "- 1", ["must be a mapping with name"]),
    ("empty", GOOD, "", ["must be a mapping with name"]),
    ("two keys", "name: demo", "name: demo\nname: again", ["the key 'name' is written twice", "line"]),
    ("a list as key", "name: demo", "[name]: demo", ["a key must be a word", "['name']"]),
    ("no name", "name: demo\n", "", ["lacks the key 'name'"]),
    ("number as name", "name: demo", "name: 7", ["name must be a word, not 7"]),
    ("unknown top key", "summary:", "sumary:", ["unknown key 'sumary'", "did you mean 'summary'"]),
    ("no scales", GOOD[GOOD.index("scales:") :], "scales: {}", ["scales", "at least one scale"]),
    ("number as scale", "  small:", "  28:", ["scales must name its scales with words, not 28"]),
    (
        "unknown blocks key",
        "  mlp_ratio: [4, 2]",
        "  mlp_ratios: [4, 2]",
        ["blocks has an unknown key 'mlp_ratios'"],
    ),
    (
        "bad ratio",
        "mlp_ratio: [4, 2]",
        "mlp_ratio: [4, 99]",
        ["mlp_ratio must be numbers above 0 and at most 16, not 99"],
    ),
    ("no operators", "dwconv: {kernel_size: 3, dynamic: [none, homogeneous]}", "{}", ["not valid YAML"]),
    (
        "unknown operator",
        "    lsa: {",
        "    lsaa: {",
        ["blocks.operators", "unknown operator 'lsaa'", "did you mean 'lsa'"],
    ),
    (
        "operators as list",
        "    lsa: {window_size: [2, 4], pos: [none, rpe]}",
        "    - lsa",
        ["not valid YAML"],
    ),
    (
        "unknown knob",
        "{window_size: [2, 4]",
        "{windowsize: [2, 4]",
        ["operators.lsa", "'windowsize'", "did you mean 'window_size'"],
    ),
    ("knob missing", "window_size: [2, 4], ", "", ["operators.lsa lacks the knob 'window_size'"]),
    (
        "knob too small",
        "window_size: [2, 4]",
        "window_size: [0, 4]",
        ["operators.lsa.window_size must be at least 1, not 0"],
    ),
    (
        "knob of text",
        "window_size: [2, 4]",
        "window_size: wide",
        ["lsa.window_size must be an integer, not 'wide'"],
    ),
    (
        "knob empty",
        "window_size: [2, 4]",
        "window_size: []",
        ["lsa.window_size must offer at least one option"],
    ),
    ("knob twice", "window_size: [2, 4]", "window_size: [2, 2]", ["lsa.window_size offers 2 twice"]),
    ("even kernel", "kernel_size: 3", "kernel_size: 4", ["dwconv.kernel_size must be odd, not 4"]),
    (
        "bad word",
        "[none, homogeneous]",
        "[none, dynamic]",
        ["dwconv.dynamic must be one of none, homogeneous", "not 'dynamic'"],
    ),
    (
        "conditional knob missing",
        "[none, homogeneous]",
        "inhomogeneous",
        ["dwconv lacks the knob 'group_channels'"],
    ),
    (
        "pos not admitted",
        "dynamic: [none, homogeneous]",
        "dynamic: none, pos: rpe",
        ["dwconv.pos offers 'rpe'", "'dwconv' does not admit", "none"],
    ),
    (
        "pos misspelled",
        "pos: [none, rpe]",
        "pos: [none, rep]",
        ["lsa.pos offers 'rep'", "did you mean 'rpe'"],
    ),
    (
        "scale of text",
        GOOD[GOOD.index("  small:") : GOOD.index("  large:")],
        "  small: 7\n",
        ["scales.small must be a mapping", "not 7"],
    ),
    (
        "unknown scale key",
        "    stem: conv3x3_s2",
        "    stems: conv3x3_s2",
        ["scales.small has an unknown key 'stems'", "did you mean 'stem'"],
    ),
    (
        "unknown stem",
        "stem: conv3x3_s2",
        "stem: conv3x3_s3",
        ["scales.small.stem: stem 'conv3x3_s3' is another name of 'patch3x3'"],
    ),
    ("stem as mapping", "stem: conv3x3_s2", "stem: {conv3x3_s2: 1}", ["scales.small.stem", "unknown"]),
    (
        "images backwards",
        "images: [16, 32]",
        "images: [32, 16]",
        ["scales.small.images must be [smallest, largest]", "[32, 16]"],
    ),
    ("images of text", "images: [16, 32]", "images: big", ["scales.small.images", "'big'"]),
    (
        "unknown style",
        "qkv_bias: false",
        "qkv_bias: false, mlp_norm: group",
        ["scales.large.style", "'group'", "batch"],
    ),
    ("style field", "qkv_bias", "kqv_bias", ["scales.large.style", "'kqv_bias'", "did you mean 'qkv_bias'"]),
    (
        "no stages",
        GOOD[GOOD.index("    stages:\n      - {dim: 8") : GOOD.index("  large:")],
        "    stages: []\n",
        ["scales.small.stages", "at least one stage"],
    ),
    (
        "unknown stage key",
        "depth: [2, 1]",
        "depths: [2, 1]",
        ["scales.small.stages[1]", "'depths'", "did you mean 'depth'"],
    ),
    (
        "first downsample",
        "depth: [2, 1]}",
        "depth: 1, downsample: conv2x2}",
        ["scales.small.stages[1]", "may not have a downsample"],
    ),
    ("no downsample", ", downsample: conv2x2", "", ["scales.small.stages[2] lacks the key 'downsample'"]),
    (
        "unknown downsample",
        "downsample: conv2x2",
        "downsample: conv_4x4",
        ["stages[2].downsample: unknown downsample 'conv_4x4'", "is merging, or", "did you mean 'conv4x4'?"],
    ),
    (
        "a width that heads do not divide",
        "dim: 16, num_heads: 2, depth: 2",
        "dim: [16, 18], num_heads: [2, 4], depth: 2",
        ["stage 2, operator 'lsa'", "18 channels cannot be divided among 4 heads"],
    ),
    (
        "a width that head_dim does not divide",
        "dim: 16, num_heads: 2, depth: 2",
        "dim: [16, 20], head_dim: [4, 8], depth: 2",
        ["scales.small.stages[2].head_dim", "dim 20 cannot be divided into heads of head_dim 8"],
    ),
    (
        "heads twice",
        "dim: 16, num_heads: 2, depth: 2",
        "dim: 16, num_heads: 2, head_dim: 8, depth: 2",
        ["scales.small.stages[2] has both num_heads and head_dim"],
    ),
    (
        "no heads",
        "dim: 16, num_heads: 2, depth: 2",
        "dim: 16, depth: 2",
        ["stages[2] lacks the key 'num_heads'"],
    ),
    (
        "bad dims",
        "dim: 16, num_heads: 2",
        "dim: [16, 0], num_heads: 2",
        ["stages[2].dim must be positive integers"],
    ),
    (
        "images smaller than any size",
        "images: [16, 32]",
        "images: [16, 32]\n    image_size: [24, 32]",
        ["scales.small.image_size offers no size that images of 16 px have pixels for"],
    ),
    (
        "a size that an operator does not fit",
        "images: [16, 32]",
        "images: [16, 32]\n    image_size: [8, 16]",
        ["stage 2, operator 'lsa'", "window_size 4 does not fit a 2x2 map", "images of 8x8 px"],
    ),
    ("bad heads", "{dim: 8, num_heads: 2", "{dim: 8, num_heads: 0", ["stages[1].num_heads", "not 0"]),
    ("bad depth", "depth: [2, 1]", "depth: [0, 1]", ["stages[1].depth must be positive integers, not 0"]),
    (
        "nothing left",
        "depth: [2, 1]}",
        "depth: 1, operators: {lsa: null, dwconv: null}}",
        ["stages[1].operators leaves no operator"],
    ),
    (
        "stage's operators empty",
        "depth: [2, 1]}",
        "depth: 1, operators: }",
        ["stages[1].operators must map at least one operator"],
    ),
    (
        "new operator lacks knobs",
        "gsa: {sr_ratio: [1, 2]}",
        "gsa: {}",
        ["scales.large.stages[2].operators.gsa lacks the knob 'sr_ratio'"],
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "said"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_malformed(old: str, new: str, said: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(SpaceError) as caught:
        parse_declaration(GOOD.replace(old, new, 1), "demo.yaml")
    message = str(caught.value)
    assert message.startswith("demo.yaml: ") and message.count("demo.yaml") == 1
    assert "\n" not in message
    for part in said:
        assert part in message


TALL = GOOD[GOOD.index("    images: [64, 128]") : GOOD.index("      - dim: 32")]
REFINER = "operators: {refiner: {expand_ratio: 1, kernel_size: 3}}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "window_size: [2, 4]",
            "window_size: [2, 5]",
            ["stage 2", "'lsa'", "window_size 5", "4x4 map", "at most 4", "stem conv3x3_s2"],
        ),
        (
            "window_size: 8}",
            "window_size: 9}",
            ["'large'", "stage 2", "window_size 9", "8x8 map", "64x64 px"],
        ),
        (
            "sr_ratio: [1, 2]",
            "sr_ratio: [1, 16]",
            ["'large'", "stage 2", "'gsa'", "sr_ratio 16", "at most 8"],
        ),
        (
            "kernel_size: 3",
            "kernel_size: 9",
            ["'small'", "stage 2", "'dwconv'", "kernel_size 9", "at most 7"],
        ),
        (
            "gsa: {sr_ratio: [1, 2]}",
            "cswin: {stripe_width: 9}",
            ["stage 2", "'cswin'", "stripe_width 9", "at most 8"],
        ),
        (
            TALL,
            TALL.replace("128", "256").replace("mlp_ratio: 3", REFINER),
            ["images of 256", "stage 1", "'refiner'", "1024"],
        ),
        (
            "dim: 16, num_heads: 2, depth: 2",
            "dim: 16, num_heads: 3, depth: 2",
            ["stage 2", "16 channels", "3 heads"],
        ),
        ("images: [16, 32]", "images: [1, 32]", ["'small'", "stage2.block1", "empty map"]),
    ],
)
def test_what_does_not_fit_a_stage_is_refused(old: str, new: str, said: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(SpaceError) as caught:
        parse_declaration(GOOD.replace(old, new, 1), "demo.yaml")
    message = str(caught.value)
    assert message.startswith("demo.yaml: space 'demo', scale ")
    for part in said:
        assert part in message, message


def test_a_convolution_may_stand_on_a_single_position() -> None:
    text = GOOD.replace("images: [16, 32]", "images: 4").replace(
        "lsa: {window_size: [2, 4], pos: [none, rpe]}", "gsa: {sr_ratio: 1}"
    )
    small = parse_declaration(text.replace("lsa: {window_size: 8}, ", ""), "demo.yaml").space("small")
    assert small.feature_maps()[1].tokens == 1


def test_yaml_anchors_work() -> None:
    text = GOOD.replace(
        "- {dim: 8, num_heads: 2, depth: [2, 1]}", "- &first {dim: 8, num_heads: 2, depth: [2, 1]}"
    )
    text = text.replace(
        "- {dim: 16, num_heads: 2, depth: 2, downsample: conv2x2}",
        "- {<<: *first, dim: 16, downsample: conv2x2}",
    )
    second = parse_declaration(text, "demo.yaml").space("small").stages[1]
    assert (second.widths.pairs, second.depths) == (((16, 2),), (1, 2))


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert load_declaration(file).source == str(file)
    assert load_declaration(str(file)).space("small") == parse_declaration(GOOD, "x").space("small")
    file.write_text(GOOD.replace("lsa:", "lsq:"))
    with pytest.raises(SpaceError, match=r"mine\.yaml: blocks\.operators names an unknown operator 'lsq'"):
        load_declaration(file)
    file.write_bytes(b"\xff\xfe\xfa name")
    with pytest.raises(SpaceError, match=r"cannot read the space file .*mine\.yaml"):
        load_declaration(file)


def test_unknown_names() -> None:
    with pytest.raises(
        SpaceError, match=r"unknown space 'twins_csw': neither a file nor .*did you mean 'twins_cswin'"
    ):
        load_declaration("twins_csw")
    with pytest.raises(SpaceError, match="unknown space"):
        load_declaration(Path(__file__).parent)
