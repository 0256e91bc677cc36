"""Measurements as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from nas.bench.cells import to_cells, to_values
from nas.bench.measurement import Measurement


def to_table(name: str, measurements: Sequence[Measurement]) -> Table:
    """Return the terminal's table of one bench; its page and its JSON say more."""
    table = Table(title=name, box=SIMPLE)
    table.add_column("what", min_width=20)
    table.add_column("ours / theirs")
    table.add_column("ratio (quartiles)", no_wrap=True, min_width=17)
    table.add_column("target", no_wrap=True, min_width=14)
    with_memory = any(one.memory_target for one in measurements)
    if with_memory:
        table.add_column("memory", no_wrap=True, min_width=11)
    for cells in map(to_cells, measurements):
        what = escape(f"{cells.name}; against {cells.against}" if cells.against else cells.name)
        table.add_row(
            what, to_values(cells), cells.ratio, cells.target, *([cells.memory] if with_memory else [])
        )
    return table
