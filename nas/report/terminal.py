"""One design, or what can be searched, as a drawing for the terminal.

A drawing fits any width from 60 columns: bars take what is left, long knobs wrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nas.report.space_drawing import format_size
from nas.runtime.console import quantity
from search_spaces.cost import costs
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.operators import operator_names
from search_spaces.published import PUBLISHED

_COLOURS = ("cyan", "magenta", "green", "yellow", "red", "blue", "bright_magenta", "bright_green")


@dataclass(frozen=True)
class _Row:
    """One line of a drawing: a block, or a part between blocks; ``cost`` is its description."""

    label: str
    operator: str
    settings: str
    pos: str
    cost: dict[str, Any]


def draw_design(description: dict[str, Any]) -> RenderableType:
    """Draw what ``describe`` returned: a panel for every stage, a row with a bar for every block."""
    design, claim = description["architecture"], description["claim"]
    stem = _Row("stem", "", description["stem"]["name"], "", description["stem"])
    stages = [_stage_rows(stage) for stage in description["stages"]]
    head = _Row("head", "", f"{design['num_classes']:,} classes", "", description["head"])
    rows = [stem, *(row for rows in stages for row in rows), head]
    settings_width = max(len(row.settings) for row in rows)
    largest_share = max(row.cost["share"] for row in rows)
    panels = [
        _panel(number, stage, _Grid(rows, settings_width, largest_share))
        for number, (stage, rows) in enumerate(zip(description["stages"], stages, strict=True), start=1)
    ]
    return Group(
        _title(description),
        Padding(_Grid([stem], settings_width, largest_share), (0, 2)),
        *panels,
        Padding(_Grid([head], settings_width, largest_share), (0, 2)),
        _attention_costs(description["stages"]),
        _totals(description),
        *([_authors_claim(claim)] if claim else []),
    )


def _title(description: dict[str, Any]) -> Text:
    name, digest = description["name"], description["digest"]
    return Text(digest, "bold") if name == digest else Text.assemble((name, "bold"), "  ", (digest, "dim"))


def _totals(description: dict[str, Any]) -> Text:
    height, width = description["architecture"]["image_size"]
    return Text.assemble(
        (f"{quantity(description['macs'])} MACs", "bold"),
        (f" · {quantity(description['params'])} parameters ({description['params']:,})", "bold"),
        f" · {quantity(description['activation_bytes'], 'B')} peak activations,",
        f" for one image of {height}×{width} px",
    )


def _stage_rows(stage: dict[str, Any]) -> list[_Row]:
    rows = []
    if stage["downsample"]:
        rows.append(_Row("↓", "", stage["downsample"]["name"], "", stage["downsample"]))
    for number, block in enumerate(stage["blocks"], start=1):
        pos = "" if block["pos"] == "none" else block["pos"]
        rows.append(_Row(str(number), block["operator"], _settings(block), pos, block))
    return rows


def _settings(block: dict[str, Any]) -> str:
    """Return the knobs of a block for people; words speak for themselves."""
    knobs = [
        str(value) if isinstance(value, str) else f"{name} {value}" for name, value in block["knobs"].items()
    ]
    return ", ".join([*(knob for knob in knobs if knob != "none"), f"mlp {block['mlp_ratio']:g}"])


def _panel(number: int, stage: dict[str, Any], grid: _Grid) -> Panel:
    height, width = stage["map"]
    heads = "1 head" if stage["num_heads"] == 1 else f"{stage['num_heads']} heads"
    return Panel(
        grid,
        title=Text(f"stage {number} · {height}×{width} · {stage['dim']} channels · {heads}", "bold"),
        subtitle=Text(f"{stage['share']:.0%} of MACs · {quantity(stage['params'])} parameters", "dim"),
        title_align="left",
        subtitle_align="right",
        border_style="dim",
    )


def _attention_costs(stages: list[dict[str, Any]]) -> RenderableType:
    """Draw what every stage's MACs are spent on, and Twins' best window beside the chosen ones."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(9):
        table.add_column(justify="right", overflow="fold")
    heads = ("stage", "local", "global", "linear", "mlp", "other", "best", "windows", "keys")
    table.add_row(*(Text(head, "bold") for head in heads))
    for number, stage in enumerate(stages, start=1):
        split, window = stage["split"], stage["window"]
        spent = (split["local"], split["globally"], split["projections"], split["mlp"])
        table.add_row(
            str(number),
            *(quantity(macs) if macs else "-" for macs in (*spent, split["convolutions"] + split["rest"])),
            Text(f"{window['optimum']:.0f}", "bold"),
            *(" ".join(map(str, window[name])) or "-" for name in ("windows", "ratios")),
        )
    note = (
        "MACs inside windows, among all positions, in linear layers around attention, and elsewhere. best: "
        "k1·k2 = √(H·W) positions, where windows and one key for each cost least together (Twins, section "
        "3.2); windows, keys: positions that attend together here, and that share a key of GSA."
    )
    return Group(Padding(table, (0, 2)), Padding(Text(note, "dim"), (0, 2)))


@dataclass(frozen=True)
class _Grid:
    """Rows in columns that are equal in every panel of a drawing.

    Args:
        rows: What to draw.
        settings_width: Longest settings of the whole design, in characters.
        largest_share: Largest share of the whole design, which fills a bar.
    """

    rows: list[_Row]
    settings_width: int
    largest_share: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        operators, numbers, bar = max(map(len, operator_names())), 5, 6
        others = 4 + operators + 4 + 3 * numbers + bar + 8  # 8 columns, each with a space behind
        table.add_column(width=4, justify="right", style="dim")
        table.add_column(width=operators)
        table.add_column(width=max(10, min(self.settings_width, options.max_width - others)), overflow="fold")
        table.add_column(width=4, style="italic")
        table.add_column(width=bar, ratio=1)
        for _ in ("share", "MACs", "params"):
            table.add_column(width=numbers, justify="right")
        for row in self.rows:
            colour = _colour(row.operator)
            table.add_row(
                row.label,
                Text(row.operator, f"bold {colour}"),
                row.settings,
                row.pos,
                Bar(self.largest_share or 1.0, 0, row.cost["share"], color=colour),
                f"{row.cost['share']:.1%}",
                quantity(row.cost["macs"]),
                Text(quantity(row.cost["params"]), "dim"),
            )
        yield table


def _colour(operator: str) -> str:
    names = operator_names()
    return _COLOURS[names.index(operator) % len(_COLOURS)] if operator in names else "white"


def _authors_claim(claim: dict[str, Any]) -> Text:
    stated = [
        *([f"{claim['params']} parameters"] if claim["params"] else []),
        *([f"{claim['flops']} FLOPs"] if claim["flops"] else []),
        *([f"{claim['top1']:g}% ImageNet-1k top-1"] if claim["top1"] else []),
    ]
    what = f"; its authors state {', '.join(stated)}" if stated else ""
    note = f" {claim['note'][0].upper()}{claim['note'][1:]}." if claim["note"] else ""
    return Text(f"Published in {claim['paper']}{what}.{note}", "dim")


def draw_spaces() -> RenderableType:
    """Draw the spaces that come with the project, scale by scale with what designs cost, and the published names."""
    names = Text.assemble(("published", "bold"), f"  {' '.join(PUBLISHED)}")
    note = Text("Names for nas show, nas retrain --arch, nas import --as and --init-from.", "dim")
    return Group(*(_draw_space(name) for name in known_spaces()), names, note)


def _draw_space(name: str) -> Group:
    declaration = load_declaration(name)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("scale", "pixels", "channels", "architectures", "MACs", "parameters"):
        table.add_column(column, justify="left" if column in ("scale", "channels") else "right")
    for scale, (low, high) in declaration.scales.items():
        space = declaration.space(scale)
        smallest, largest = costs(space.smallest), costs(space.largest)
        table.add_row(
            Text(scale, "bold"),
            str(low) if low == high else f"{low}-{high}",
            " ".join(_format_options(stage.widths.dims) for stage in space.stages),
            format_size(space.size),
            f"{quantity(smallest.macs)}-{quantity(largest.macs)}",
            f"{quantity(smallest.params)}-{quantity(largest.params)}",
        )
    title = Text.assemble((declaration.name, "bold"), f"  {declaration.summary}")
    note = Text("MACs and parameters: of the smallest and largest design, at the smallest images.", "dim")
    return Group(title, table, note)


def _format_options(options: tuple[int, ...]) -> str:
    """Return numbers to choose from in as few signs as tell them: the only one, or the smallest and largest."""
    return str(options[0]) if len(options) == 1 else f"{options[0]}-{options[-1]}"
