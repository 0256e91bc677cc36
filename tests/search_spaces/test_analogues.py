"""Analogues: the published designs, as near as any given space allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.published import published
from search_spaces.space import Space
from tests.helpers.space_examples import TEXTS, mixed, space

NAMED = load_declaration("twins_cswin")
FAMILIES = [
    "twins_svt-like",
    "twins_pcpvt-like",
    "cswin-like",
    "dwnet-like",
    "dwnet_dynamic-like",
    "refiner-like",
    "swin-like",
]


def by_name(found: list[tuple[str, Architecture]], inside: Space) -> dict[str, Architecture]:
    """Return analogues by name, after checking that they differ and lie inside their space."""
    assert all(inside.contains(architecture) for _, architecture in found)
    assert len({architecture.digest for _, architecture in found}) == len(found)
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize(
    ("scale", "side"),
    [("nano", 28), ("nano", 32), ("nano", 64), ("tiny", 224), ("small", 224), ("small", 384)],
)
def test_every_family_in_the_named_space(scale: str, side: int) -> None:
    inside = NAMED.space(scale, side)
    assert list(by_name(analogues(inside), inside)) == FAMILIES
    assert analogues(inside) == analogues(inside)


def test_a_small_space() -> None:
    found = {name: str(architecture) for name, architecture in analogues(mixed())}
    assert found["twins_svt-like"] == "lsa(w7)+cpe·4 gsa(s2)·4 | lsa(w7)+cpe·4 gsa(s1)·4"
    assert found["twins_pcpvt-like"] == "gsa(s2)+cpe·4 gsa(s2)·4 | gsa(s1)+cpe·4 gsa(s1)·4"
    assert found["cswin-like"] == "cswin(w2)+lepe·4 cswin(w2)+lepe·4 | cswin(w2)+lepe·4 cswin(w2)+lepe·4"
    assert found["dwnet-like"] == "dwconv(k7)·4 dwconv(k7)·4 | dwconv(k7)·4 dwconv(k7)·4"
    # The first stage cannot hold Refiner's maps: plain attention replaces them.
    assert found["refiner-like"] == "gsa(s2)·4 gsa(s2)·4 | refiner(e3k3)·4 refiner(e3k3)·4"
    assert found["swin-like"] == "lsa(w7)+rpe·4 lsa(w7)+rpe·4 | lsa(w7)+rpe·4 lsa(w7)+rpe·4"


@pytest.mark.parametrize(("family", "name"), [("twins_svt", "twins_svt_small"), ("cswin", "cswin_tiny")])
def test_the_paper_s_own_network_where_the_space_holds_it(family: str, name: str) -> None:
    analogue, paper = dict(analogues(NAMED.space("tiny", 224)))[f"{family}-like"], published(name)
    assert analogue.stages == paper.stages
    assert analogue.stem == paper.stem
    assert analogue == replace(paper, style=analogue.style)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_refiner_vit_is_a_point_of_the_scale_that_bears_its_name(size: str) -> None:
    inside = load_declaration("refiner_vit").space(size, 224)
    paper = published(f"refiner_vit_{size}")
    assert by_name(analogues(inside), inside) == {"refiner-like": paper}


def test_the_local_vit_ablation_starts_from_every_row_of_the_paper() -> None:
    inside = load_declaration("local_vit_ablation").space("tiny", 224)
    found = by_name(analogues(inside), inside)
    assert found["swin-like"] == published("swin_tiny")
    forms = {name: design for name, design in found.items() if name != "swin-like"}
    assert list(forms) == ["dwnet-like", "dwnet_dynamic-like", "dwnet_inhomogeneous-like"]
    for name, design in forms.items():
        paper = published(name.replace("dwnet", "dwnet_tiny").removesuffix("-like"))
        assert [stage.blocks for stage in design.stages] == [stage.blocks for stage in paper.stages]


@pytest.mark.parametrize("side", [28, 64])
def test_windows_that_a_stage_cannot_shift_stay(side: int) -> None:
    inside = load_declaration("local_vit_ablation").space("nano", side)
    swin = by_name(analogues(inside), inside)["swin-like"]
    assert str(swin) == "swin(w7)+rpe·4 swin(shalfw7)+rpe·4 | swin(w7)+rpe·4 swin(w7)+rpe·4"


def test_wider_spaces_follow_the_wider_network() -> None:
    analogue = dict(analogues(NAMED.space("small", 224)))["twins_svt-like"]
    assert [len(stage.blocks) for stage in analogue.stages] == [2, 2, 18, 2]


def test_stages_keep_every_operator_of_the_paper() -> None:
    for side in (28, 64):
        analogue = dict(analogues(mixed(side)))["twins_svt-like"]
        for stage in analogue.stages:
            assert {block.operator for block in stage.blocks} == {"lsa", "gsa"}


@pytest.mark.parametrize("name", TEXTS)
def test_tiny_spaces(name: str) -> None:
    by_name(analogues(space(name)), space(name))


def test_families_that_a_space_cannot_express_are_left_out() -> None:
    assert [name for name, _ in analogues(space("conditional"))] == [
        "dwnet-like",
        "dwnet_dynamic-like",
        "dwnet_inhomogeneous-like",
        "swin-like",
    ]
    assert [name for name, _ in analogues(space("skeleton"))] == ["twins_pcpvt-like"]
    assert [name for name, _ in analogues(space("shared"))] == ["dwnet-like", "refiner-like"]


DEEP = """
name: deep
blocks: {{mlp_ratio: 4, operators: {{lsa: {{window_size: 4}}, gsa: {{sr_ratio: 2, pos: [none, cpe]}}}}}}
scales:
  one:
    images: 64
    stem: patch4x4
    stages: [{{dim: 16, num_heads: 2, depth: {depth}}}]
"""


@pytest.mark.parametrize(("depth", "blocks"), [("[3, 40]", 3), ("[16, 40]", 16), ("40", 40)])
def test_depth_and_rhythm(depth: str, blocks: int) -> None:
    inside = parse_declaration(DEEP.format(depth=depth), "deep").space()
    found = by_name(analogues(inside), inside)
    stage = found["twins_svt-like"].stages[0]
    assert len(stage.blocks) == blocks
    assert [block.operator for block in stage.blocks] == [("lsa", "gsa")[n % 2] for n in range(blocks)]
    pcpvt = found["twins_pcpvt-like"].stages[0]
    assert [block.pos for block in pcpvt.blocks] == ["cpe", *["none"] * (len(pcpvt.blocks) - 1)]
