"""A space in full: every option of its declaration is shown, and its size and costs are those of its designs."""

from __future__ import annotations

import pytest
from rich.console import Console

from nas.report.space_description import describe_space
from nas.report.space_drawing import draw_space
from search_spaces.cost import costs
from search_spaces.declaration import known_spaces, load_declaration, parse_declaration

SPACE = """
name: hand
summary: counted by hand
blocks:
  mlp_ratio: [1, 2.5]
  operators:
    lsa: {window_size: [2, 4], pos: [none, rpe]}
    dwconv: {kernel_size: 3, dynamic: none}
scales:
  one:
    images: [32, 64]
    stem: [conv3x3_s2, patch4x4]
    stages:
      - {dim: [8, 16], num_heads: 2, depth: 1}
      - width: [{dim: 16, num_heads: 2}, {dim: 24, num_heads: 3}]
        depth: [1, 2]
        downsample: conv2x2
        operators: {dwconv: null}
"""


def drawn(text: str, width: int = 130) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w", encoding="utf-8"))
    console.print(draw_space(describe_space(parse_declaration(text, "here"))))
    console.file.close()
    return console.export_text()


def test_every_choice_is_shown() -> None:
    lines = [" ".join(line.split()) for line in drawn(SPACE).splitlines()]
    assert lines[0] == "hand counted by hand"
    assert "stem conv3x3_s2, patch4x4" in lines
    assert "stage 1 depth 1 · dim 8, 16 · num_heads 2 · mlp_ratio 1, 2.5" in lines
    assert (
        "stage 2 downsample conv2x2 · depth 1, 2 · width 16 with 2 heads or 24 with 3 heads · mlp_ratio 1, 2.5"
        in lines
    )
    assert lines.count("lsa window_size 2, 4 pos none, rpe") == 2
    assert sum(line.startswith("dwconv kernel_size 3; dynamic none") for line in lines) == 1


def test_the_size_is_counted_by_hand() -> None:
    # A first stage: 2 widths of (2 windows x 2 encodings + 1 convolution) x 2 ratios. A second: 2 widths of one or
    # two of 4 x 2 blocks. Two stems.
    designs = 2 * (2 * 5 * 2) * (2 * (8 + 64))
    scale = describe_space(parse_declaration(SPACE, "here"))["scales"]["one"]
    assert scale["architectures"] == str(designs) == "5760"
    assert "5,760 designs" in drawn(SPACE)
    assert scale["stages"][1]["operators"] == {"lsa": {"window_size": [2, 4], "pos": ["none", "rpe"]}}


@pytest.mark.parametrize("name", known_spaces())
def test_costs_are_those_of_the_smallest_and_largest_design(name: str) -> None:
    declaration = load_declaration(name)
    for scale, described in describe_space(declaration)["scales"].items():
        space = declaration.space(scale)
        smallest, largest = costs(space.smallest), costs(space.largest)
        assert described["macs"] == [smallest.macs, largest.macs]
        assert described["params"] == [smallest.params, largest.params]
        assert described["images"] == list(declaration.scales[scale])
    assert max(map(len, drawn(declaration.text, 60).splitlines())) <= 60
