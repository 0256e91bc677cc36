"""Results of benches as a page: a picture and a table of each."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import plotly.graph_objects as go

from nas.bench.cells import to_cells
from nas.bench.measurement import Measurement
from nas.report.html import figure, page, section, table

_MET, _MISSED, _WITHOUT_TARGET = "#1aa179", "#d55e00", "#0f8bc9"
_GREY = "#888888"
_HEADS = (
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


def to_page(
    measurements: Mapping[str, Sequence[Measurement]],
    machine: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Return a page with a picture and a table of every bench.

    Args:
        measurements: Those of each bench, by its name.
        machine: What was measured on.
        provenance: The run's provenance.
    """
    figures = {
        name: plot_ratios(found) for name, found in measurements.items() if any(one.ratio for one in found)
    }
    parts = ["<h1>Benchmarks</h1>", f'<p class="lead">{html.escape(_describe_machine(machine))}</p>']
    for name, found in measurements.items():
        rows = [[html.escape(cell) for cell in astuple(to_cells(one))] for one in found]
        picture = figure(name, figures) if name in figures else ""
        parts.append(section(name, _summary(found), picture, table(_HEADS, rows, numbers=7, first=3)))
    commit = f"commit {provenance['commit'] or 'unknown'}{' with changes' if provenance['dirty'] else ''}"
    command = html.escape(" ".join(provenance["command"]))
    parts.append(f"<footer>{html.escape(commit)}, {provenance['time']}: {command}</footer>")
    return page("Benchmarks", parts, figures)


def _describe_machine(machine: Mapping[str, Any]) -> str:
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return f"{machine['device']}, {threads}, {machine['dtype']}, time of {machine['clock']}"


def _summary(measurements: Sequence[Measurement]) -> str:
    targets = [one.target_met for one in measurements if one.target_met is not None]
    memory = [one.memory_target_met for one in measurements if one.memory_target_met is not None]
    sentences = [f"{sum(targets)} of {len(targets)} targets met."] if targets else []
    if memory:
        sentences.append(f"Peak memory is not above the other side's in {sum(memory)} of {len(memory)}.")
    return " ".join(sentences) or "Nothing here has a target."


def plot_ratios(measurements: Sequence[Measurement]) -> go.Figure:
    """Return a plot of the ratio of every measurement that has one, its quartiles and its target."""
    plotted = [(one, one.ratio) for one in reversed(measurements) if one.ratio is not None]
    names = [f"{one.name}<br>against {one.against}" for one, _ in plotted]
    ratios = [ratio for _, ratio in plotted]
    quartiles = [one.quartiles or (ratio, ratio) for one, ratio in plotted]
    result = go.Figure(
        go.Scatter(
            x=ratios,
            y=names,
            mode="markers",
            name="median ratio, quartiles",
            marker={"size": 10, "color": [_colour(one) for one, _ in plotted]},
            error_x={
                "type": "data",
                "array": [high - ratio for (_, high), ratio in zip(quartiles, ratios, strict=True)],
                "arrayminus": [ratio - low for (low, _), ratio in zip(quartiles, ratios, strict=True)],
            },
        )
    )
    targets = [(one.target.limit, name) for (one, _), name in zip(plotted, names, strict=True) if one.target]
    result.add_trace(
        go.Scatter(
            x=[limit for limit, _ in targets],
            y=[name for _, name in targets],
            mode="markers",
            name="target",
            marker={"symbol": "line-ns-open", "size": 18, "color": _GREY},
        )
    )
    result.add_vline(x=1, line={"width": 1, "dash": "dot", "color": _GREY})
    result.update_layout(height=140 + 38 * len(plotted), margin={"l": 16, "r": 16, "t": 40, "b": 48})
    wide = max(ratios) > 5 * max(min(ratios), 1e-9)
    result.update_xaxes(title="ours / theirs", type="log" if wide else "linear")
    return result


def _colour(measurement: Measurement) -> str:
    if measurement.target_met is None:
        return _WITHOUT_TARGET
    return _MET if measurement.target_met else _MISSED
