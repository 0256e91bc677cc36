"""Spaces and designs for people: in a line, and as HTML for notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from search_spaces.cost import costs, part_cost
from search_spaces.operators import operator_names
from search_spaces.walk import BlockPart, HeadPart, Part, StemPart, walk

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture
    from search_spaces.block import Block
    from search_spaces.choices import StageChoices
    from search_spaces.space import Space

_LONGEST = 100  # letters of the blocks in a line
_MOST_OPTIONS = 4  # that are listed one by one
# They stand out on light pages and on dark ones.
_COLOURS = ("#2a9d8f", "#c2679f", "#7aa02c", "#d09a2b", "#d1495b", "#4a7fc1", "#8d7cc3", "#5aa469")
_GREY = "#999999"


def summarize_space(space: Space) -> str:
    """Return a space in a line: how many designs, choices and stages it has, and for which images."""
    magnitude = f"{space.size:,}" if space.size < 10**6 else f"about 10^{math.log10(space.size):.0f}"
    return (
        f"{space.name}/{space.scale}: {magnitude} architectures, {len(space.choices)} choices, "
        f"{len(space.stages)} stages, {' or '.join(f'{h}x{w}' for h, w in space.image_sizes)} px"
    )


def summarize_design(design: Architecture) -> str:
    """Return a design in a line: its digest, costs, images and first blocks."""
    blocks = str(design)
    if len(blocks) > _LONGEST:
        blocks = f"{blocks[:_LONGEST]}..."
    return f"{design.digest}: {_describe_costs(design)}, {blocks}"


def space_to_html(space: Space) -> str:
    """Return a space as a table: what each stage may be."""
    maps = space.feature_maps()
    rows = [
        (
            str(number),
            f"{feature_map.height}×{feature_map.width}",
            _format_options(stage.widths.dims),
            _format_options(stage.depths),
            ", ".join(stage.downsamples) or " or ".join(space.stems),
            "<br>".join(_describe_operators(stage)),
            _format_options(stage.mlp_ratios),
        )
        for number, (stage, feature_map) in enumerate(zip(space.stages, maps, strict=True), start=1)
    ]
    heads = ("stage", "map", "channels", "blocks", "begins with", "operators", "MLP ratio")
    return f"<p><b>{escape(summarize_space(space))}</b></p>{_to_table(heads, rows)}"


def design_to_html(design: Architecture) -> str:
    """Return a design as a table: a row with a bar of its multiply-accumulates for every part."""
    total = costs(design).macs or 1
    parts = [(part, part_cost(part, design.style)) for part in walk(design)]
    largest = max(cost.macs for _, cost in parts) or 1
    rows = [
        (
            *_describe_part(part),
            f'<div style="width:8em"><div style="width:{100 * cost.macs / largest:.1f}%;height:0.7em;'
            f'background:{_colour(part)}"></div></div>',
            f"{cost.macs / total:.1%}",
            f"{cost.params:,}",
        )
        for part, cost in parts
    ]
    heads = ("part", "map", "is", "MACs", "", "parameters")
    title = f"<p><b>{design.digest}</b> {escape(_describe_costs(design))}</p>"
    return title + _to_table(heads, rows)


def _describe_costs(design: Architecture) -> str:
    known, (height, width) = costs(design), design.image_size
    return (
        f"{known.macs / 1e6:,.2f}M MACs and {known.params / 1e6:,.2f}M parameters on images of "
        f"{design.in_channels}x{height}x{width}, {design.num_classes:,} classes"
    )


def _describe_part(part: Part) -> tuple[str, str, str]:
    """Return what a part is called, on which map it works, and what it is, as HTML."""
    feature_map = part.feature_map
    where = f"{feature_map.height}×{feature_map.width}×{feature_map.dim}"
    if isinstance(part, BlockPart):
        return escape(part.name), where, _describe_block(part.block)
    if isinstance(part, HeadPart):
        return "head", where, f"{part.num_classes:,} classes"
    return "stem" if isinstance(part, StemPart) else "↓", where, escape(part.name)


def _describe_block(block: Block) -> str:
    knobs = [f"{name} {value}" for name, value in block.knobs if value != "none"]
    pos = [] if block.pos == "none" else [block.pos]
    return f"<b>{escape(block.operator)}</b> {escape(', '.join([*knobs, *pos, f'mlp {block.mlp_ratio:g}']))}"


def _describe_operators(stage: StageChoices) -> Iterator[str]:
    for choice in stage.operators:
        knobs = [f"{name} {_format_options(options)}" for name, options in choice.knobs]
        pos = [f"pos {', '.join(choice.pos)}"] if choice.pos != ("none",) else []
        yield f"<b>{escape(choice.name)}</b> {escape('; '.join([*knobs, *pos]))}"


def _format_options(options: Sequence[object]) -> str:
    if len(options) > _MOST_OPTIONS:
        return f"{options[0]} to {options[-1]}, {len(options)} options"
    return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in options)


def _colour(part: Part) -> str:
    names = operator_names()
    if not isinstance(part, BlockPart) or part.block.operator not in names:
        return _GREY
    return _COLOURS[names.index(part.block.operator) % len(_COLOURS)]


def _to_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    left = ' style="text-align:left"'
    head = "".join(f"<th{left}>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td{left}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
