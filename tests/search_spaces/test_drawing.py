"""Spaces and designs in a line and as tables: short, complete, and safe in a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from search_spaces.cost import costs
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.published import published


def cells_of(page: str) -> list[list[str]]:
    """Return the texts of a page's table, row by row; the page must be well formed."""
    root = ElementTree.fromstring(f"<div>{page.replace('<br>', '<br/>')}</div>")
    return [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in root.iter("tr")]


@pytest.mark.parametrize("name", known_spaces())
def test_a_space_is_a_line_and_a_table_of_its_stages(name: str) -> None:
    declaration = load_declaration(name)
    space = declaration.space(next(iter(declaration.scales)))
    assert repr(space) == f"<Space {space}>" and len(repr(space)) < 160
    head, *rows = cells_of(space._repr_html_())
    assert head[0] == "stage" and len(rows) == len(space.stages)
    for row, stage in zip(rows, space.stages, strict=True):
        assert all(choice.name in row[5] for choice in stage.operators)


@pytest.mark.parametrize("name", ["twins_svt_small", "refiner_vit_small", "swin_tiny", "dwnet_tiny"])
def test_a_design_is_a_line_and_a_table_whose_shares_add_up(name: str) -> None:
    design = published(name)
    line = repr(design)
    assert line.startswith(f"<Architecture {design.digest}: ") and len(line) < 240
    macs, params = costs(design).macs, costs(design).params
    assert f"{macs / 1e6:,.2f}M MACs and {params / 1e6:,.2f}M parameters" in line
    _, *rows = cells_of(design._repr_html_())
    blocks = [block for stage in design.stages for block in stage.blocks]
    assert [row[2].split()[0] for row in rows if "block" in row[0]] == [block.operator for block in blocks]
    assert sum(int(row[5].replace(",", "")) for row in rows) == params
    assert sum(float(row[4].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.05 * len(rows) + 1e-9)
    widths = [float(width) for width in re.findall(r"width:([0-9.]+)%", design._repr_html_())]
    assert max(widths) == 100.0 and len(widths) == len(rows)
