"""One design as a picture: an SVG that stands alone, and takes the colours of a page that it is put into.

It is narrow enough for a telephone at its own size. Text, cards and lines have the colours of the page's variables,
and those of a light page where there is none.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.report.figure_style import operator_colour
from nas.runtime.console import quantity

WIDTH = 400  # of all in user units, which are pixels at its own size
_LEFT, _RIGHT = 24, WIDTH - 20  # of what stands in a stage's box
_LINE = 17  # from one line of text to the next
_LETTERS = 40  # of settings in a line: 12 px letters are up to 7 px wide, and the encoding has its own place
_BAR = 236  # the longest bar
_GREY = "#8a93a0"
_TEXT, _SOFT, _CARD, _EDGE = (
    "var(--text, #1d2430)",
    "var(--soft, #5b6676)",
    "var(--card, #ffffff)",
    "var(--line, #dfe3ea)",
)


@dataclass(frozen=True)
class _Row:
    """A block, or a part between blocks.

    Args:
        label: In bold.
        lines: Its settings, broken to fit.
        pos: Its encoding, or nothing.
        colour: Of its bar.
        cost: Its MACs and their ``share`` of all.
    """

    label: str
    lines: Sequence[str]
    pos: str
    colour: str
    cost: Mapping[str, Any]

    @property
    def height(self) -> int:
        """What it takes from top to bottom."""
        return _LINE * (1 + len(self.lines)) + 14


def draw_svg(description: Mapping[str, Any]) -> str:
    """Return what ``describe`` returned as an SVG: its stages from top to bottom, a row and a bar for every block.

    A bar is as long as its block's share of the MACs, the largest share filling the width.

    Args:
        description: The design.
    """
    stages = [list(_stage_rows(stage)) for stage in description["stages"]]
    stem = _Row("stem", [description["stem"]["name"]], "", _GREY, description["stem"])
    classes = f"{description['architecture']['num_classes']:,} classes"
    head = _Row("classifier", [classes], "", _GREY, description["head"])
    largest = max(row.cost["share"] for row in (stem, head, *(row for rows in stages for row in rows))) or 1.0
    parts, y = list(_title(description)), 58
    y = _draw_row(parts, stem, y, largest) + 10
    for number, (stage, rows) in enumerate(zip(description["stages"], stages, strict=True), start=1):
        top, y = y, y + 34
        contents: list[str] = []
        for row in rows:
            y = _draw_row(contents, row, y, largest)
        parts.append(_box(top, y - top))
        parts += [*_stage_title(number, stage, top), *contents]
        y += 12
    y = _draw_row(parts, head, y, largest)
    name = html.escape(str(description["name"]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>Design {name}</title>'
        f'<rect width="{WIDTH}" height="{y}" rx="10" fill="{_CARD}"/>{"".join(parts)}</svg>'
    )


def _title(description: Mapping[str, Any]) -> Iterator[str]:
    height, width = description["architecture"]["image_size"]
    name = str(description["name"])
    name = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    totals = f"{quantity(description['macs'])} MACs · {quantity(description['params'])} parameters"
    yield _text(12, 22, name, size=15, bold=True)
    yield _text(12, 42, f"{totals} · image {height}×{width}", colour=_SOFT)


def _stage_title(number: int, stage: Mapping[str, Any], top: int) -> Iterator[str]:
    height, width = stage["map"]
    heads = "1 head" if stage["num_heads"] == 1 else f"{stage['num_heads']} heads"
    about = f"map {height}×{width} · {stage['dim']} channels · {heads}"
    yield (
        f'<text x="14" y="{top + 20}" fill="{_SOFT}"><tspan font-weight="600" fill="{_TEXT}">stage {number}</tspan>'
        f'<tspan dx="7">{about}</tspan></text>'
    )
    yield _text(_RIGHT, top + 20, f"{stage['share']:.0%} of MACs", anchor="end", colour=_SOFT)


def _stage_rows(stage: Mapping[str, Any]) -> Iterator[_Row]:
    if stage["downsample"]:
        yield _Row("downsampling", [stage["downsample"]["name"]], "", _GREY, stage["downsample"])
    for block in stage["blocks"]:
        settings = describe_settings(block["knobs"], block["mlp_ratio"])
        pos = "" if block["pos"] == "none" else block["pos"]
        lines = textwrap.wrap(settings, _LETTERS, break_long_words=True)
        yield _Row(block["operator"], lines, pos, operator_colour(block["operator"]), block)


def describe_settings(knobs: Mapping[str, int | str], mlp_ratio: float) -> str:
    """Return the settings of a block in words: ``homogeneous, kernel_size 5, MLP ratio 4``."""
    named = [
        str(value) if isinstance(value, str) else f"{name} {value}"
        for name, value in knobs.items()
        if value != "none"
    ]
    return ", ".join([*named, f"MLP ratio {mlp_ratio:g}"])


def _draw_row(parts: list[str], row: _Row, top: int, largest: float) -> int:
    """Draw a row from ``top`` on; return where the next one begins."""
    parts.append(_text(_LEFT, top + 13, row.label, bold=True, size=13))
    if row.pos:
        parts.append(_text(_RIGHT, top + 13, f"+ {row.pos}", anchor="end"))
    for number, line in enumerate(row.lines, start=1):
        parts.append(_text(_LEFT, top + 13 + _LINE * number, line, colour=_SOFT))
    bottom = top + row.height - 8
    width = max(1.0, _BAR * row.cost["share"] / largest)
    mark = f'<rect x="{_LEFT - 10}" y="{top + 2}" width="4" height="{row.height - 8}" rx="2" fill="{row.colour}"/>'
    bar = f'<rect x="{_LEFT}" y="{bottom - 3}" width="{width:.1f}" height="5" rx="2" fill="{row.colour}"/>'
    share = f"{row.cost['share']:.1%} · {quantity(row.cost['macs'])}"
    parts += [mark, bar, _text(_RIGHT, bottom + 2, share, anchor="end", colour=_SOFT, size=11)]
    return top + row.height + 4


def _box(top: int, height: int) -> str:
    return f'<rect x="6.5" y="{top + 0.5}" width="{WIDTH - 13}" height="{height}" rx="8" fill="none" stroke="{_EDGE}"/>'


def _text(
    x: int,
    y: int,
    content: str,
    *,
    size: int = 12,
    bold: bool = False,
    anchor: str = "start",
    colour: str = _TEXT,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    end = ' text-anchor="end"' if anchor == "end" else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}"{weight}{end} fill="{colour}">{html.escape(content)}</text>'
    )
