"""Drawings: complete, aligned and within the terminal's width; the same facts as data."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from nas.report.description import describe
from nas.report.terminal import draw_design, draw_spaces
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.published import PUBLISHED, published

SVT = published("twins_svt_small")


def lines(drawing: RenderableType, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(drawing)
    return file.getvalue().splitlines()


# -- data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_parts_add_up(name: str) -> None:
    found, total = describe(published(name), name), costs(published(name))
    parts = [found["stem"], found["head"]]
    for stage in found["stages"]:
        inside = stage["blocks"] + ([stage["downsample"]] if stage["downsample"] else [])
        assert stage["macs"] == sum(part["macs"] for part in inside)
        assert stage["params"] == sum(part["params"] for part in inside)
        parts += inside
    assert (found["macs"], found["params"]) == (total.macs, total.params)
    assert found["macs"] == sum(part["macs"] for part in parts)
    assert found["params"] == sum(part["params"] for part in parts)
    assert sum(part["share"] for part in parts) == pytest.approx(1)


def test_description() -> None:
    found = describe(SVT, "twins_svt_small")
    assert json.loads(json.dumps(found)) == found
    assert Architecture.from_json(found["architecture"]) == SVT
    assert (found["name"], found["digest"], found["params"]) == ("twins_svt_small", SVT.digest, 24_060_776)
    assert found["compact"] == str(SVT)
    assert found["claim"]["top1"] == 81.7
    second = found["stages"][1]
    assert (second["map"], second["dim"], second["num_heads"]) == ([28, 28], 128, 4)
    assert second["downsample"]["name"] == "conv2x2"
    block = second["blocks"][1]
    assert {key: block[key] for key in ("place", "map", "operator", "knobs", "pos", "mlp_ratio")} == {
        "place": "stage2.block2",
        "map": [28, 28],
        "operator": "gsa",
        "knobs": {"sr_ratio": 4},
        "pos": "none",
        "mlp_ratio": 4.0,
    }


def test_a_design_without_a_name_goes_by_its_digest() -> None:
    found = describe(SVT)
    assert (found["name"], found["claim"]) == (SVT.digest, None)
    assert lines(draw_design(found), 100)[0].strip() == SVT.digest
    assert "Published" not in "\n".join(lines(draw_design(found), 100))


# -- drawing ----------------------------------------------------------------------------------------

NANO = dict(analogues(load_declaration("twins_cswin").space("nano", 28, 1, 10)))
DESIGNS = [published(name) for name in PUBLISHED] + list(NANO.values())


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.digest)
def test_fits_and_loses_nothing(design: Architecture, width: int) -> None:
    drawn = lines(draw_design(describe(design)), width)
    assert all(cell_len(line) <= width for line in drawn)
    assert "…" not in "".join(drawn)
    shares = [line for line in drawn if "%" in line and "╰" not in line]
    blocks = sum(len(stage.blocks) for stage in design.stages)
    assert len(shares) == blocks + len(design.stages) + 1  # stem, head, and every downsampling
    assert f"({costs(design).params:,})" in " ".join(line.strip() for line in drawn)


def test_says_what_there_is() -> None:
    text = "\n".join(lines(draw_design(describe(SVT, "twins_svt_small")), 120))
    for part in (
        "twins_svt_small",
        SVT.digest,
        "patch4x4",
        "stage 1 · 56×56 · 64 channels · 2 heads",
        "window_size 7, mlp 4",
        "sr_ratio 8, mlp 4",
        "cpe",
        "↓",
        "conv2x2",
        "1,000 classes",
        "2.93G MACs",
        "24.1M parameters (24,060,776)",
        "224×224 px",
        "Published in Twins, arXiv 2104.13840; its authors state 24M parameters, 2.8G FLOPs, 81.7% ImageNet",
    ):
        assert part in text


def test_bars_follow_shares() -> None:
    found = describe(published("cswin_tiny"), "cswin_tiny")
    drawn = [line for line in lines(draw_design(found), 120) if "cswin " in line]
    bars = [line.count("█") for line in drawn]
    shares = [block["share"] for stage in found["stages"] for block in stage["blocks"]]
    assert len(bars) == len(shares)
    assert max(bars) > 40
    for bar, share in zip(bars, shares, strict=True):
        assert bar / max(bars) == pytest.approx(share / max(shares), abs=0.03)


def test_columns_are_aligned_across_panels() -> None:
    drawn = lines(draw_design(describe(SVT)), 100)
    rows = [line for line in drawn if "%" in line and "╰" not in line]
    assert len({line.index("%") for line in rows}) == 1


def test_operators_differ_in_colour() -> None:
    file = io.StringIO()
    Console(file=file, width=100, color_system="standard", force_terminal=True).print(
        draw_design(describe(SVT))
    )
    styled = [line for line in file.getvalue().splitlines() if "lsa" in line or "gsa" in line]
    codes = {name: {line.split(name)[0][-6:] for line in styled if name in line} for name in ("lsa", "gsa")}
    assert all(len(found) == 1 for found in codes.values())
    assert codes["lsa"] != codes["gsa"]


def test_a_network_of_one_block() -> None:
    one = Architecture((Stage(8, 1, (Block("gsa", (("sr_ratio", 1),)),)),), (8, 8), stem="conv3x3_s2")
    text = "\n".join(lines(draw_design(describe(replace(one, num_classes=2))), 80))
    assert "1 head" in text
    assert "1 heads" not in text
    assert "2 classes" in text


@pytest.mark.parametrize("width", [80, 160])
def test_spaces(width: int) -> None:
    drawn = lines(draw_spaces(), width)
    assert all(cell_len(line) <= width for line in drawn)
    assert "…" not in "".join(drawn)
    words = " ".join(drawn).split()
    assert set(PUBLISHED) <= set(words)
    for name in known_spaces():
        declaration = load_declaration(name)
        title = next(
            n for n, line in enumerate(drawn) if line.startswith(f"{name}  {declaration.summary[:20]}")
        )
        for scale, (low, high) in declaration.scales.items():
            row = next(line for line in drawn[title + 1 :] if line.strip().startswith(scale))
            assert (f"{low}-{high}" if low != high else f" {low} ") in row
