"""How to read a design that is written in one line: its signs, its operators with their knobs, its encodings."""

from __future__ import annotations

import html

from nas.report.drawing import describe_settings
from nas.report.html import details, table
from search_spaces.architecture import Architecture, Block
from search_spaces.operators import operator
from search_spaces.space import Space

#: What positional encodings do, and where they come from.
_ENCODINGS = {
    "ape": ("absolute: a learned vector for every position is added to the map", "ViT, arXiv 2010.11929"),
    "rpe": (
        "relative: a learned bias of attention for every offset of two positions",
        "Swin, arXiv 2103.14030",
    ),
    "cpe": ("conditional: a depth-wise 3x3 convolution of the map is added to it", "CPVT, arXiv 2102.10882"),
    "lepe": (
        "locally enhanced: a depth-wise 3x3 convolution of the values is added to attention",
        "CSWin, arXiv 2107.00652",
    ),
}


def legend(space: Space, example: Architecture) -> str:
    """Return how designs of a space are written, behind a line that opens it.

    Args:
        space: The space; its operators and encodings are explained, and no others.
        example: A design, whose block with the most signs is taken apart.
    """
    block = max(
        (block for stage in example.stages for block in stage.blocks), key=lambda each: len(str(each))
    )
    operators = sorted({choice.name for stage in space.stages for choice in stage.operators})
    encodings = {pos for stage in space.stages for choice in stage.operators for pos in choice.pos}
    rows = [_operator_row(name) for name in operators]
    pos_rows = [
        [f"<code>+{pos}</code>", html.escape(what), html.escape(paper)]
        for pos, (what, paper) in _ENCODINGS.items()
        if pos in encodings
    ]
    return details(
        f"How to read <code>{html.escape(str(block))}</code>",
        f"<p>{_take_apart(block)} Blocks stand in the order in which an image passes them; <code>|</code>, or a box of "
        "its own, divides stages. A block is the operator, which mixes positions, and after it an MLP.</p>",
        table(["operator", "what it does", "its knobs, and their signs", "paper"], rows, numbers=0),
        table(["encoding", "what it does", "paper"], pos_rows, numbers=0) if pos_rows else "",
    )


def describe_block(block: Block) -> str:
    """Return a block in words: ``dwconv (homogeneous, kernel_size 5, MLP ratio 4), encoding cpe``."""
    pos = "no encoding" if block.pos == "none" else f"encoding {block.pos}"
    return f"{block.operator} ({describe_settings(block.settings, block.mlp_ratio)}), {pos}"


def _take_apart(block: Block) -> str:
    short = block.spec.short
    signs = [
        f"<code>{html.escape(f'{short.get(name, name)}{value}')}</code> {html.escape(name)} {html.escape(str(value))}"
        for name, value in block.settings.items()
        if value != "none"
    ]
    parts = [f"<code>{block.operator}</code> is the operator", *signs]
    if block.pos != "none":
        parts.append(f"<code>+{block.pos}</code> its positional encoding")
    parts.append(f"<code>·{block.mlp_ratio:g}</code> the MLP's ratio of hidden to outer channels")
    return f"{', '.join(parts)}."


def _operator_row(name: str) -> list[str]:
    spec = operator(name)
    knobs = ", ".join(
        f"{html.escape(knob)} <code>{html.escape(sign)}</code>"
        if (sign := spec.short.get(knob, knob))
        else f"{html.escape(knob)} by its value"
        for knob in spec.knobs
    )
    return [f"<code>{html.escape(name)}</code>", html.escape(spec.summary), knobs, html.escape(spec.paper)]
