"""Drawings of designs and the legend: everything of a design is there, and nothing can be put into them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nas.report.description import describe
from nas.report.drawing import WIDTH, draw_svg
from nas.report.legend import _ENCODINGS, describe_block, legend
from search_spaces.architecture import Block
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.operators import POSITIONS
from search_spaces.published import PUBLISHED, published

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_block_is_drawn_with_its_share(name: str) -> None:
    design = published(name)
    description = describe(design, name)
    root = ElementTree.fromstring(draw_svg(description))
    texts = ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]
    blocks = [block for stage in design.stages for block in stage.blocks]
    assert [text for text in texts if text in {block.operator for block in blocks}] == [
        block.operator for block in blocks
    ]
    parts = [description["stem"]]
    for stage in description["stages"]:
        parts += [*([stage["downsample"]] if stage["downsample"] else []), *stage["blocks"]]
    shares = [part["share"] for part in [*parts, description["head"]]]
    bars = [float(each.get("width", 0)) for each in root.iter(f"{SVG}rect") if each.get("height") == "5"]
    assert bars == pytest.approx([max(1, max(bars) * share / max(shares)) for share in shares], abs=0.1)
    stages = [text for text in texts if text.startswith("stage ")]
    assert stages[0].startswith("stage 1map ") and len(stages) == len(design.stages)
    assert root.get("viewBox", "").split()[2] == str(WIDTH)


def test_a_name_stays_text() -> None:
    drawn = draw_svg(describe(published("cswin_tiny")) | {"name": "</svg><script>x"})
    assert "<script>" not in drawn and "&lt;script&gt;" in drawn


def test_every_encoding_is_explained() -> None:
    assert {"none", *_ENCODINGS} == set(POSITIONS)


@pytest.mark.parametrize("name", known_spaces())
def test_the_legend_has_all_signs_of_a_space_and_no_others(name: str) -> None:
    declaration = load_declaration(name)
    space = declaration.space(next(iter(declaration.scales)))
    text = legend(space, space.largest)
    operators = {choice.name for stage in space.stages for choice in stage.operators}
    for operator in ("lsa", "gsa", "cswin", "dwconv", "refiner", "swin", "pool"):
        assert (f"<td><code>{operator}</code></td>" in text) is (operator in operators)
    for pos in _ENCODINGS:
        offered = any(pos in choice.pos for stage in space.stages for choice in stage.operators)
        assert (f"<td><code>+{pos}</code></td>" in text) is offered


def test_a_block_in_words() -> None:
    block = Block("dwconv", (("kernel_size", 5), ("dynamic", "homogeneous")), "cpe", 4)
    assert str(block) == "dwconv(homogeneousk5)+cpe·4"
    assert describe_block(block) == "dwconv (homogeneous, kernel_size 5, MLP ratio 4), encoding cpe"
