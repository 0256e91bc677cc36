"""One space in full, as a drawing for the terminal: scale by scale, stage by stage, operator by operator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nas.runtime.console import quantity


def draw_space(description: Mapping[str, Any]) -> RenderableType:
    """Draw what ``describe_space`` returned."""
    title = Text.assemble((description["name"], "bold"), f"  {description['summary']}")
    scales = (_draw_scale(name, scale) for name, scale in description["scales"].items())
    note = Text(
        "MACs and parameters: of the smallest and largest design, at the smallest images, for RGB and 1,000 classes.",
        "dim",
    )
    return Group(title, *scales, note)


def _draw_scale(name: str, scale: Mapping[str, Any]) -> Group:
    facts = [
        f"images of {_range(scale['images'])} px",
        f"{format_size(int(scale['architectures']))} designs, {scale['choices']} choices",
        f"{_range(scale['macs'], quantity)} MACs",
        f"{_range(scale['params'], quantity)} parameters",
    ]
    skeleton = [f"stem {_options(scale['stems'])}"]
    if len(scale["image_sizes"]) > 1:
        skeleton.append(f"sides to choose from {_options([side for side, _ in scale['image_sizes']])}")
    return Group(
        Text(""),
        Text.assemble((f"scale {name}", "bold"), f"  {' · '.join(facts)}"),
        Text(" · ".join(skeleton)),
        *(_draw_stage(number, stage) for number, stage in enumerate(scale["stages"], start=1)),
    )


def _draw_stage(number: int, stage: Mapping[str, Any]) -> Group:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in ("operator", "knobs", "positions"):
        table.add_column(overflow="fold")
    for operator, knobs in stage["operators"].items():
        options = (f"{knob} {_options(values)}" for knob, values in knobs.items() if knob != "pos")
        table.add_row(Text(operator, "bold"), "; ".join(options), f"pos {_options(knobs['pos'])}")
    title = Text.assemble((f"  stage {number}", "bold"), f"  {' · '.join(_describe_blocks(stage))}")
    return Group(title, Padding(table, (0, 0, 0, 4)))


def _describe_blocks(stage: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a stage's blocks have in common, and what stands before them."""
    if stage["downsample"]:
        yield f"downsample {_options(stage['downsample'])}"
    yield f"depth {_options(stage['depth'])}"
    if "width" in stage:
        pairs = (f"{each['dim']} with {each['num_heads']} heads" for each in stage["width"])
        yield f"width {' or '.join(pairs)}"
    else:
        heads = "num_heads" if "num_heads" in stage else "head_dim"
        yield from (f"{name} {_options(stage[name])}" for name in ("dim", heads))
    yield f"mlp_ratio {_options(stage['mlp_ratio'])}"


def _options(values: Sequence[object]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _range(ends: Sequence[int], text: Any = str) -> str:
    low, high = ends
    return str(text(low)) if low == high else f"{text(low)}-{text(high)}"


def format_size(size: int) -> str:
    """Return a number of designs in few signs."""
    return f"{size:,}" if size < 10**6 else f"10^{math.log10(size):.0f}"
