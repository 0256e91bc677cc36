"""Results of benches as tables for a terminal and as a page with a picture."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from nas.bench.core import Measurement
from nas.report.html import figure, page, section, table
from nas.runtime.console import quantity

_MET, _SHORT, _PLAIN = "#1aa179", "#d55e00", "#0f8bc9"


def drawn(name: str, rows: Sequence[Measurement]) -> Table:
    """Return the terminal's table of one bench; its page and its JSON say more."""
    result = Table(title=name, box=SIMPLE)
    result.add_column("what", min_width=20)
    result.add_column("ours / theirs")
    result.add_column("ratio (quartiles)", no_wrap=True, min_width=17)
    result.add_column("target", no_wrap=True, min_width=14)
    lean = any(row.memory_target for row in rows)
    if lean:
        result.add_column("memory", no_wrap=True, min_width=11)
    for row in rows:
        what, against, ours, theirs, ratio, target, memory, *_ = _cells(row)
        both = f"{ours} / {theirs} {row.unit}" if theirs else f"{ours} {row.unit}"
        name = escape(f"{what}; against {against}" if against else what)
        result.add_row(name, both, ratio, target, *([memory] if lean else []))
    return result


def _cells(row: Measurement) -> list[str]:
    """Return name, other side, both values, ratio, target, memory by theirs, MACs and bytes as people read them."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    if row.quartiles is not None:
        ratio += f" ({row.quartiles[0]:.2f}-{row.quartiles[1]:.2f})"
    target = "" if row.target is None else f"{row.target} {_verdict(row.met)}"
    share = "" if row.memory is None else f"{row.memory:.2f}"
    if row.memory_target is not None:
        share = f"{share} {_verdict(row.memory_met)}"
    macs, memory = row.details.get("macs"), row.details.get("peak_bytes")
    return [
        row.name,
        row.against,
        quantity(row.ours),
        "" if row.theirs is None else quantity(row.theirs),
        ratio,
        target,
        share,
        "" if macs is None else quantity(macs),
        "" if memory is None else f"{quantity(memory['ours'], 'B')} / {quantity(memory['theirs'], 'B')}",
    ]


def _verdict(met: bool | None) -> str:
    return "met" if met else "missed"


def written(
    rows: Mapping[str, Sequence[Measurement]], machine: Mapping[str, Any], origin: Mapping[str, Any]
) -> str:
    """Return a page with a picture and a table of every bench.

    Args:
        rows: Rows by bench.
        machine: What was measured on.
        origin: The run's provenance.
    """
    figures = {name: picture(found) for name, found in rows.items() if any(row.ratio for row in found)}
    heads = (
        "what",
        "against",
        "unit",
        "ours",
        "theirs",
        "ratio (quartiles)",
        "target",
        "memory / theirs",
        "MACs",
        "peak memory",
    )
    parts = ["<h1>Benchmarks</h1>", f'<p class="lead">{html.escape(_where(machine))}</p>']
    for name, found in rows.items():
        cells = [[html.escape(cell) for cell in _with_unit(row)] for row in found]
        drawing = figure(name, figures) if name in figures else ""
        parts.append(section(name, _summary(found), drawing, table(heads, cells, 7, 3)))
    commit = f"commit {origin['commit'] or 'unknown'}{' with changes' if origin['dirty'] else ''}"
    parts.append(
        f"<footer>{html.escape(commit)}, {origin['time']}: {html.escape(' '.join(origin['command']))}</footer>"
    )
    return page("Benchmarks", parts, figures)


def _with_unit(row: Measurement) -> list[str]:
    name, against, *rest = _cells(row)
    return [name, against, row.unit, *rest]


def _where(machine: Mapping[str, Any]) -> str:
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return f"{machine['device']}, {threads}, {machine['dtype']}, time of {machine['clock']}"


def _summary(rows: Sequence[Measurement]) -> str:
    judged = [row.met for row in rows if row.met is not None]
    lean = [row.memory_met for row in rows if row.memory_met is not None]
    said = [f"{sum(judged)} of {len(judged)} targets met."] if judged else []
    if lean:
        said.append(f"Peak memory is not above the other side's in {sum(lean)} of {len(lean)}.")
    return " ".join(said) or "Nothing here has a target."


def picture(rows: Sequence[Measurement]) -> go.Figure:
    """Draw the ratio of every row that has one, its quartiles and its target."""
    shown = [row for row in rows if row.ratio is not None][::-1]
    names = [f"{row.name}<br>against {row.against}" for row in shown]
    ratios = [row.ratio or 0.0 for row in shown]
    spans = [row.quartiles or (ratio, ratio) for row, ratio in zip(shown, ratios, strict=True)]
    result = go.Figure(
        go.Scatter(
            x=ratios,
            y=names,
            mode="markers",
            name="median ratio, quartiles",
            marker={"size": 10, "color": [_colour(row) for row in shown]},
            error_x={
                "type": "data",
                "array": [high - ratio for (_, high), ratio in zip(spans, ratios, strict=True)],
                "arrayminus": [ratio - low for (low, _), ratio in zip(spans, ratios, strict=True)],
            },
        )
    )
    aimed = [(row.target.limit, name) for row, name in zip(shown, names, strict=True) if row.target]
    result.add_trace(
        go.Scatter(
            x=[limit for limit, _ in aimed],
            y=[name for _, name in aimed],
            mode="markers",
            name="target",
            marker={"symbol": "line-ns-open", "size": 18, "color": "#888888"},
        )
    )
    result.add_vline(x=1, line={"width": 1, "dash": "dot", "color": "#888888"})
    result.update_layout(height=140 + 38 * len(shown), margin={"l": 16, "r": 16, "t": 40, "b": 48})
    wide = max(ratios) > 5 * max(min(ratios), 1e-9)
    result.update_xaxes(title="ours / theirs", type="log" if wide else "linear")
    return result


def _colour(row: Measurement) -> str:
    return _PLAIN if row.met is None else _MET if row.met else _SHORT
