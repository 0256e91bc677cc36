"""Architectures: JSON and digests round-trip, and what cannot be built cannot be made."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.errors import ArchitectureError
from search_spaces.skeleton import Style
from search_spaces.walk import walk_blocks

LSA = Block("lsa", (("window_size", 4),), "rpe", 2)
GSA = Block("gsa", (("sr_ratio", 2),), "cpe")
INHOMOGENEOUS = Block("dwconv", (("kernel_size", 3), ("dynamic", "inhomogeneous"), ("group_channels", 4)))
REFINER = Block("refiner", (("expand_ratio", 2), ("kernel_size", 3)))

SMALL = Architecture(
    (Stage(16, 2, (LSA, GSA)), Stage(24, 4, (INHOMOGENEOUS, REFINER), "conv3x3")),
    (32, 48),
    in_channels=1,
    num_classes=10,
    style=Style(norm_eps=1e-5),
)


def test_json_round_trip() -> None:
    text = json.dumps(SMALL.to_json())
    again = Architecture.from_json(json.loads(text))
    assert again == SMALL
    assert hash(again) == hash(SMALL)
    assert again.digest == SMALL.digest
    assert again.to_json() == SMALL.to_json()


def test_digest_is_stable() -> None:
    # Studies on disk carry it: a change of the canonical JSON needs a new format number.
    assert SMALL.digest == "a8a04f80fccc"


def test_order_and_kind_of_knobs_do_not_alter_the_digest() -> None:
    knobs = {"dynamic": "none", "kernel_size": 5}
    one = Block("dwconv", tuple(knobs.items()), mlp_ratio=4)
    other = Block("dwconv", tuple(reversed(knobs.items())), mlp_ratio=4.0)
    assert one == other
    assert design(one).digest == design(other).digest


def test_reordered_json_has_the_same_digest() -> None:
    shuffled = {key: SMALL.to_json()[key] for key in sorted(SMALL.to_json(), reverse=True)}
    assert Architecture.from_json(shuffled).digest == SMALL.digest


def test_every_part_alters_the_digest() -> None:
    first, second = SMALL.stages
    others = [
        replace(SMALL, num_classes=11),
        replace(SMALL, in_channels=3),
        replace(SMALL, image_size=(48, 32)),
        replace(SMALL, stem="conv7x7_s4"),
        replace(SMALL, style=Style()),
        replace(SMALL, stages=(replace(first, dim=18), second)),
        replace(SMALL, stages=(replace(first, num_heads=4), second)),
        replace(SMALL, stages=(replace(first, blocks=(GSA, LSA)), second)),
        replace(SMALL, stages=(replace(first, blocks=(LSA,)), second)),
        replace(SMALL, stages=(first, replace(second, downsample="conv2x2"))),
        replace(SMALL, stages=(replace(first, blocks=(replace(LSA, pos="none"), GSA)), second)),
        replace(SMALL, stages=(replace(first, blocks=(replace(LSA, mlp_ratio=3), GSA)), second)),
        replace(
            SMALL, stages=(replace(first, blocks=(replace(LSA, knobs=(("window_size", 2),)), GSA)), second)
        ),
    ]
    assert len({SMALL.digest, *(architecture.digest for architecture in others)}) == len(others) + 1


def test_an_inactive_knob_cannot_enter() -> None:
    with pytest.raises(
        ArchitectureError, match="'group_channels' of 'dwconv' has a meaning only with dynamic="
    ):
        Block("dwconv", (("kernel_size", 3), ("dynamic", "none"), ("group_channels", 4)))


def test_maps_and_places() -> None:
    assert SMALL.maps() == ((8, 12), (4, 6))
    assert [part.name for part in walk_blocks(SMALL)] == [
        "stage1.block1",
        "stage1.block2",
        "stage2.block1",
        "stage2.block2",
    ]
    assert [part.feature_map.tokens for part in walk_blocks(SMALL)] == [96, 96, 24, 24]
    merging = replace(SMALL, image_size=(36, 44), stages=(SMALL.stages[0], Stage(24, 4, (GSA,), "merging")))
    assert merging.maps() == ((9, 11), (5, 6))


def test_compact_text() -> None:
    assert str(SMALL) == ("lsa(w4)+rpe·2 gsa(s2)+cpe·4 | dwconv(inhomogeneousg4k3)·4 refiner(e2k3)·4")
    assert str(Block("dwconv", (("kernel_size", 5), ("dynamic", "none")))) == "dwconv(k5)·4"


def design(*blocks: Block, **changes: Any) -> Architecture:
    return Architecture((Stage(16, 2, blocks),), (32, 32), **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Block("lsaa", ()), r"unknown operator 'lsaa'.*did you mean 'lsa'"),
        (lambda: Block("lsa", ()), r"operator 'lsa' needs the knob 'window_size'"),
        (lambda: Block("lsa", (("window", 4),)), r"'lsa' has no knob 'window' \(it has: window_size\)"),
        (lambda: Block("lsa", (("window_size", 0),)), r"'window_size' of 'lsa' must be at least 1, not 0"),
        (lambda: Block("lsa", (("window_size", True),)), r"must be an integer, not True"),
        (lambda: Block("lsa", (("window_size", [4]),)), r"must be an integer, not \[4\]"),
        (lambda: Block("dwconv", (("kernel_size", 4), ("dynamic", "none"))), r"must be odd, not 4"),
        (
            lambda: Block("dwconv", (("kernel_size", 3), ("dynamic", "yes"))),
            r"one of none, homogeneous.* not 'yes'",
        ),
        (
            lambda: Block("gsa", (("sr_ratio", 1),), "rpe"),
            r"'gsa' does not admit .* 'rpe' \(it admits: none, ape, cpe\)",
        ),
        (
            lambda: Block("gsa", (("sr_ratio", 1),), "lppe"),
            r"unknown positional encoding 'lppe'.*did you mean 'lepe'",
        ),
        (lambda: Block("gsa", (("sr_ratio", 1),), mlp_ratio=0), r"mlp_ratio must be .* not 0"),
        (lambda: Block("gsa", (("sr_ratio", 1),), mlp_ratio=float("nan")), r"mlp_ratio must be .* not nan"),
        (lambda: Stage(0, 1, (GSA,)), r"a stage's dim must be a positive integer, not 0"),
        (lambda: Stage(16, 2.0, (GSA,)), r"a stage's num_heads must be a positive integer, not 2.0"),  # type: ignore[arg-type]
        (lambda: Stage(16, 2, ()), r"a stage needs at least one block"),
        (lambda: Stage(16, 2, (GSA,), "conv_2x2"), r"unknown downsample 'conv_2x2'.*did you mean 'conv2x2'"),
        (lambda: design(GSA, stem="patch4"), r"unknown stem 'patch4'.*did you mean 'patch4x4'"),
        (lambda: design(GSA, num_classes=0), r"num_classes must be a positive integer, not 0"),
        (lambda: Architecture(()), r"an architecture needs at least one stage"),
        (lambda: Architecture((Stage(16, 2, (GSA,), "conv2x2"),)), r"stage 1 may not name a downsample"),
        (
            lambda: Architecture((Stage(16, 2, (GSA,)), Stage(16, 2, (GSA,)))),
            r"stage 2 must name a downsample",
        ),
        (lambda: replace(SMALL, image_size=(3, 3)), r"stage1.block1 stands on an empty map"),
        (
            lambda: replace(SMALL, image_size=(12, 48)),
            r"stage1.block1: window_size 4 does not fit a 3x12 map",
        ),
        (lambda: design(Block("lsa", (("window_size", 9),))), r"stage1.block1: window_size 9 .* at most 8"),
        (lambda: design(Block("cswin", (("stripe_width", 9),))), r"stripe_width 9 does not fit"),
        (
            lambda: design(Block("dwconv", (("kernel_size", 17), ("dynamic", "none")))),
            r"kernel_size 17 reaches beyond",
        ),
        (lambda: Architecture((Stage(15, 2, (LSA,)),)), r"15 channels cannot be divided among 2 heads"),
        (
            lambda: Architecture((Stage(9, 3, (Block("cswin", (("stripe_width", 1),)),)),)),
            r"3 heads cannot be halved",
        ),
        (
            lambda: Architecture((Stage(18, 2, (INHOMOGENEOUS,)),)),
            r"18 channels cannot be divided into groups of 4",
        ),
        (
            lambda: Architecture((Stage(16, 2, (REFINER,)),)),
            r"has 3136 positions; use it where .* at most 1024",
        ),
        (
            lambda: Architecture((Stage(4, 1, (replace(GSA, mlp_ratio=0.1),)),)),
            r"mlp_ratio 0.1 leaves no hidden",
        ),
        (lambda: Style(mixer_norm="group"), r"style mixer_norm 'group' is unknown"),
        (lambda: Style(norm_eps=0.0), r"norm_eps must be a small positive number"),
        (lambda: Style(qkv_bias=1), r"qkv_bias must be true or false"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_built_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The JSON of ``SMALL`` with one part set; ``...`` removes it."""
    whole: Any = copy.deepcopy(SMALL.to_json())
    node = whole
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return whole  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be a JSON object, not list"),
        ({}, "architecture format None is not the format 1"),
        (changed(("format",), 2), "architecture format 2 is not the format 1"),
        (changed(("stem",), ...), "an architecture needs the key 'stem'"),
        (changed(("stemm",), 1), "unknown key 'stemm' in an architecture .*did you mean 'stem'"),
        (changed(("stem",), ["patch4x4"]), "unknown stem"),
        (changed(("image_size",), 32), r"image_size must be \[height, width\], not 32"),
        (changed(("image_size",), [32]), r"image_size must be \[height, width\], not \[32\]"),
        (changed(("image_size",), [[32], 32]), r"image height must be a positive integer, not \[32\]"),
        (changed(("image_size",), [32, 32.5]), "image width must be a positive integer, not 32.5"),
        (changed(("in_channels",), {}), "in_channels must be a positive integer"),
        (changed(("num_classes",), True), "num_classes must be a positive integer, not True"),
        (changed(("style",), "plain"), "style must be an object, not 'plain'"),
        (changed(("style", "norm_epss"), 1.0), "style has no field 'norm_epss' .*did you mean 'norm_eps'"),
        (changed(("stages",), {}), "stages must be a list"),
        (changed(("stages", 0), 7), "stage 1 must be an object with a list of 'blocks', not 7"),
        (changed(("stages", 0, "depth"), 7), "unknown key 'depth' in stage 1"),
        (changed(("stages", 0, "dim"), ...), "stage 1 needs the key 'dim'"),
        (changed(("stages", 0, "dim"), "16"), "a stage's dim must be a positive integer, not '16'"),
        (changed(("stages", 1, "downsample"), ...), "stage 2 must name a downsample"),
        (changed(("stages", 1, "downsample"), [1]), "unknown downsample"),
        (
            changed(("stages", 1, "blocks", 0), "lsa"),
            "stage2.block1: a block must be an object with an 'operator'",
        ),
        (
            changed(("stages", 1, "blocks", 1, "window_size"), 2),
            "stage2.block2: operator 'refiner' has no knob",
        ),
        (changed(("stages", 0, "blocks", 0, "pos"), {}), "stage1.block1: unknown positional encoding"),
        (changed(("stages", 0, "blocks", 0, "mlp_ratio"), "4"), "stage1.block1: mlp_ratio must be"),
    ],
)
def test_foreign_json_is_refused(content: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_json(content)
