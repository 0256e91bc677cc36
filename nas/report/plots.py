"""Figures of a search: rows in, plotly figures out.

Text, grid and background colours are left to the page, which sets them for light and dark; the colours
here are mid-tones that read on both, and can be told apart by the colour-blind (after Okabe and Ito).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.runtime.console import quantity
from nas.search.objectives import OBJECTIVES, Goal
from nas.search.pareto import front
from nas.search.trial_store import TrialRecord
from search_spaces.architecture import Architecture, Block
from search_spaces.operators import POSITIONS, operator_names

FRONT = "#d55e00"
_COLOURS = ("#0f8bc9", "#e69f00", "#1aa179", "#b5609a", "#d55e00", "#7a75c4", "#9aa522", "#5aa9a0")
_ABSENT = "rgba(128,128,128,0.22)"
_MODES = {"scratch": ("from scratch", "square", "#1aa179"), "inherit": ("inherited", "diamond", "#b5609a")}
_TITLES = {
    "top1": "top-1 on validation images (%)",
    "macs": "MACs per image",
    "params": "parameters",
    "latency_ms": "latency (ms)",
}
_SHORT = {"top1": "top-1 (%)", "macs": "MACs", "params": "parameters", "latency_ms": "latency (ms)"}
_LOG_RANGE = 20  # a cost that spans more than this factor is drawn on a logarithmic axis


def worded(name: str, value: float) -> str:
    """Return a score as people read it: ``97.25%``, ``5.1M``, ``3.2 ms``."""
    if name in ("top1", "top5"):
        return f"{value:.2f}%"
    if name == "latency_ms":
        return f"{value:.3g} ms"
    return quantity(value)


def elite(rows: Sequence[TrialRecord], goal: Goal, share: float = 0.1) -> list[TrialRecord]:
    """Return the measured rows of the front together with the best ``share`` in the first objective."""
    measured = [row for row in rows if row.measured]
    values = [goal.values(row.scores) for row in measured]
    sign = -1 if goal.directions[0] == "maximize" else 1
    best = sorted(range(len(measured)), key=lambda i: sign * values[i][0])[: round(share * len(measured))]
    return [measured[i] for i in sorted({*best, *front(values, goal.directions)})]


# -- the trade-off -----------------------------------------------------------------------------------


def tradeoff(
    rows: Sequence[TrialRecord], goal: Goal, cost: str, results: Sequence[Mapping[str, Any]]
) -> go.Figure:
    """Draw the first objective over ``cost``: all measured designs, the front, likenesses, retrained ones.

    Designs that racing stopped are left out: their accuracies are of fewer images.

    Args:
        rows: Rows of the search.
        goal: Its objectives.
        cost: Score on the horizontal axis.
        results: Results of retraining.
    """
    gain = goal.objectives[0]
    shown = [row for row in rows if row.measured and gain in row.scores and cost in row.scores]
    best = [shown[i] for i in front([goal.values(row.scores) for row in shown], goal.directions)]
    plain = [row for row in shown if row.origin == "sampled"]
    batches = max((row.batch for row in plain), default=0) + 1
    figure = go.Figure()
    figure.add_trace(
        _points(
            plain,
            cost,
            gain,
            name="evaluated design",
            marker={
                "size": 7,
                "color": [row.batch + 1 for row in plain],
                # Not the darkest and lightest of the scale: they drown in a dark or a light page.
                "colorscale": [[0, "#8d7cc3"], [0.5, "#2a9d8f"], [1, "#e0b020"]],
                "colorbar": {
                    "title": {"text": "batch"},
                    "thickness": 10,
                    "len": 0.9,
                    "dtick": -(-batches // 8),
                },
                "showscale": batches > 1,
                "opacity": 0.75,
            },
        )
    )
    ordered = sorted(best, key=lambda row: row.scores[cost])
    flat = set(goal.objectives) == {gain, cost}
    # With a third objective the front is a surface: a line through its projection would mean nothing.
    line = {"color": FRONT, "width": 2, "shape": "hv" if OBJECTIVES[cost][0] == "minimize" else "vh"}
    figure.add_trace(
        _points(
            ordered,
            cost,
            gain,
            name="Pareto front" if len(goal.objectives) > 1 else "best",
            mode="lines+markers" if flat else "markers",
            line=line,
            marker={"size": 11, "color": FRONT, "symbol": "circle-open", "line": {"width": 2.5}},
        )
    )
    analogues = [row for row in shown if row.origin != "sampled"]
    if analogues:
        figure.add_trace(
            _points(
                analogues,
                cost,
                gain,
                name="like a published design",
                marker={
                    "size": 13,
                    "color": "#0f8bc9",
                    "symbol": "star",
                    "line": _RIM,
                },
            )
        )
    if gain == "top1":
        for trace in _retrained(shown, cost, results):
            figure.add_trace(trace)
    costs = [row.scores[cost] for row in shown]
    across = _cost_axis(cost, costs)
    upward = _gain_axis(gain, shown, [*best, *analogues], results)
    if analogues:
        extent = upward.get("range") or [row.scores[gain] for row in shown]
        log = across.get("type") == "log"
        figure.update_layout(annotations=_labels(analogues, cost, gain, costs, extent, log))
    figure.update_layout(height=_HEIGHT, hovermode="closest", legend=_LEGEND, margin=_MARGIN)
    figure.update_xaxes(title=_TITLES[cost], **across)
    figure.update_yaxes(title=_TITLES[gain], **upward)
    return figure


_RIM = {"width": 1, "color": "white"}
_HEIGHT, _LABEL = 520, 16  # pixels of a picture, and from one name to the next
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
_MARGIN = {"l": 64, "r": 16, "t": 56, "b": 56}


def _points(rows: Sequence[TrialRecord], x: str, y: str, /, **trace: Any) -> go.Scatter:
    return go.Scatter(
        **{
            "mode": "markers",
            "x": [row.scores[x] for row in rows],
            "y": [row.scores[y] for row in rows],
            "hovertext": [_hover(row) for row in rows],
            "hovertemplate": "%{hovertext}<extra></extra>",
            **trace,
        }
    )


def _hover(row: TrialRecord) -> str:
    origin = "" if row.origin == "sampled" else f"<br>like {row.origin}"
    shown = [f"{name} {worded(name, row.scores[name])}" for name in _TITLES if name in row.scores]
    return (
        f"<b>{row.architecture.digest}</b> · batch {row.batch + 1}{origin}<br>{', '.join(shown)}<br>"
        f"{design_lines(row.architecture)}"
    )


def design_lines(architecture: Architecture) -> str:
    """Return a compact design, a stage a line, long stages broken, for a hover box."""
    lines = []
    for number, stage in enumerate(str(architecture).split(" | "), start=1):
        blocks = stage.split(" ")
        rows = [" ".join(blocks[at : at + 4]) for at in range(0, len(blocks), 4)]
        lines.append(f"{number}: " + "<br>    ".join(rows))
    return "<br>".join(lines)


def _labels(
    rows: Sequence[TrialRecord], x: str, y: str, across: Sequence[float], upward: Sequence[float], log: bool
) -> list[Any]:
    """Return names with leaders for ``rows``, pushed apart upwards so that neighbours can all be read.

    Args:
        rows: What to name.
        x: Score on the horizontal axis.
        y: Score on the vertical axis.
        across: Values on the horizontal axis, for its extent.
        upward: Values on the vertical axis, for its extent.
        log: Whether the horizontal axis is logarithmic; plotly then wants logarithms here.
    """
    pixels = _HEIGHT * 0.68 / ((max(upward) - min(upward)) or 1.0)
    middle = (min(across) + max(across)) / 2
    labels = []
    free = {"left": float("-inf"), "right": float("-inf")}
    for row in sorted(rows, key=lambda row: row.scores[y]):
        # Away from the nearer edge of the picture, where a name would be cut off.
        side = "left" if row.scores[x] <= middle else "right"
        place = row.scores[y] * pixels
        height = max(place, free[side])
        free[side] = height + _LABEL
        labels.append(
            {
                "x": math.log10(row.scores[x]) if log else row.scores[x],
                "y": row.scores[y],
                "text": row.origin,
                "font": {"size": 11.5},
                "xanchor": side,
                "ax": 26 if side == "left" else -26,
                "ay": place - height,
                "showarrow": True,
                "arrowhead": 0,
                "arrowwidth": 1,
                "arrowcolor": "rgba(128,128,128,0.8)",
                "standoff": 7,
            }
        )
    return labels


def _retrained(
    shown: Sequence[TrialRecord], cost: str, results: Sequence[Mapping[str, Any]]
) -> list[go.Scatter]:
    known = {row.architecture.digest: row.scores for row in shown}
    placed = []
    for result in results:
        scores = known.get(result["digest"], result)
        if cost in scores:
            placed.append((scores[cost], result, known.get(result["digest"], {}).get("top1")))
    lifts_x: list[float | None] = []
    lifts_y: list[float | None] = []
    for x, result, before in placed:
        if before is not None:
            lifts_x += [x, x, None]
            lifts_y += [before, result["val_top1"], None]
    traces = []
    if lifts_x:
        lift = {"color": "rgba(128,128,128,0.8)", "width": 1, "dash": "dot"}
        traces.append(
            go.Scatter(x=lifts_x, y=lifts_y, mode="lines", line=lift, hoverinfo="skip", showlegend=False)
        )
    for mode, (words, symbol, colour) in _MODES.items():
        mine = [(x, result) for x, result, _ in placed if result["mode"] == mode]
        if mine:
            traces.append(
                go.Scatter(
                    x=[x for x, _ in mine],
                    y=[result["val_top1"] for _, result in mine],
                    mode="markers",
                    name=f"retrained, {words}",
                    marker={
                        "size": 11,
                        "color": colour,
                        "symbol": symbol,
                        "line": _RIM,
                    },
                    hovertext=[
                        f"<b>{result['digest']}</b> retrained, {words}<br>"
                        f"validation {result['val_top1']:.2f}%, test {result['test_top1']:.2f}%"
                        for _, result in mine
                    ],
                    hovertemplate="%{hovertext}<extra></extra>",
                )
            )
    return traces


def _cost_axis(name: str, values: Sequence[float]) -> dict[str, Any]:
    if name == "top1":
        return {}
    axis: dict[str, Any] = {"tickformat": "~s" if name in ("macs", "params") else ""}
    if values and min(values) > 0 and max(values) / min(values) > _LOG_RANGE:
        axis |= {"type": "log", "dtick": "D2"}
    return axis


def _gain_axis(
    name: str,
    shown: Sequence[TrialRecord],
    kept: Sequence[TrialRecord] = (),
    results: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    axis: dict[str, Any] = {"tickformat": "~s" if name in ("macs", "params") else ""}
    values = sorted(row.scores[name] for row in shown)
    if name != "top1" or len(values) < 20:
        return axis
    # A few failed designs would squeeze all others into a strip; a double click shows them too.
    low = min([values[len(values) // 20], *(row.scores[name] for row in kept)])
    high = max([values[-1], *(result["val_top1"] for result in results)])
    if values[0] < low - (high - low):
        room = 0.06 * (high - low)
        axis["range"] = [low - room, high + room]
    return axis


# -- history -----------------------------------------------------------------------------------------


def history(rows: Sequence[TrialRecord], goal: Goal) -> go.Figure:
    """Draw the first objective of every measured design, the best so far, and the hypervolume.

    Designs that racing stopped count on the horizontal axis, and have no point.
    """
    evaluated = [row for row in rows if row.evaluated]
    gain = goal.objectives[0]
    measured = [row for row in evaluated if row.measured]
    counts = [number for number, row in enumerate(evaluated, start=1) if row.measured]
    values = [row.scores[gain] for row in measured]
    volumes = hypervolumes([goal.values(row.scores) for row in measured], goal.directions)
    figure = make_subplots(
        rows=2 if volumes else 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        row_heights=[0.62, 0.38] if volumes else [1.0],
    )
    points = _points(
        measured,
        gain,
        gain,
        x=counts,
        name="evaluated design",
        marker={"size": 5, "color": "#0f8bc9", "opacity": 0.45},
    )
    figure.add_trace(points, row=1, col=1)
    pick = max if goal.directions[0] == "maximize" else min
    best: list[float] = []
    for value in values:
        best.append(pick(best[-1], value) if best else value)
    line = {"color": FRONT, "width": 2.5, "shape": "hv"}
    build_on_meta = f"after %{{x}} designs: {_hover_value(gain)}<extra>best so far</extra>"
    figure.add_trace(
        go.Scatter(
            x=counts, y=best, mode="lines", line=line, name="best so far", hovertemplate=build_on_meta
        ),
        row=1,
        col=1,
    )
    figure.update_yaxes(title=_SHORT[gain], row=1, col=1, **_gain_axis(gain, measured))
    if volumes:
        line = {"color": "#1aa179", "width": 2.5, "shape": "hv"}
        build_on_meta = "after %{x} designs: %{y:.1f}% of the box<extra>hypervolume</extra>"
        figure.add_trace(
            go.Scatter(
                x=counts,
                y=volumes,
                mode="lines",
                line=line,
                name="hypervolume of the front",
                hovertemplate=build_on_meta,
            ),
            row=2,
            col=1,
        )
        figure.update_yaxes(title="hypervolume (%)", row=2, col=1)
    step = {"dtick": 1} if len(evaluated) < 10 else {}
    figure.update_xaxes(title="evaluated designs", row=2 if volumes else 1, col=1, **step)
    figure.update_layout(height=460 if volumes else 340, legend=_LEGEND, margin=_MARGIN)
    return figure


def _hover_value(name: str) -> str:
    return "%{y:.2f}%" if name == "top1" else "%{y:.3s}" if name in ("macs", "params") else "%{y:.3g}"


def hypervolumes(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[float]:
    """Return after each point the share, in percent, of the box of all points that the front dominates.

    Nothing is returned for one objective, where the best so far says it all, and for four and more.
    """
    if not 2 <= len(directions) <= 3 or len(points) < 2:
        return []
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    costs = [[sign * value for sign, value in zip(signs, point, strict=True)] for point in points]
    ideal = [min(column) for column in zip(*costs, strict=True)]
    spans = [max(column) - low for column, low in zip(zip(*costs, strict=True), ideal, strict=True)]
    scaled = [
        tuple(
            (value - low) / span if span else 0.0 for value, low, span in zip(cost, ideal, spans, strict=True)
        )
        for cost in costs
    ]
    volumes: list[float] = []
    kept: list[tuple[float, ...]] = []
    for point in scaled:
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in kept):
            kept = [o for o in kept if not all(a <= b for a, b in zip(point, o, strict=True))] + [point]
            volumes.append(100 * _volume(kept))
        else:
            volumes.append(volumes[-1])
    return volumes


def _volume(points: Sequence[tuple[float, ...]]) -> float:
    """Return the volume that ``points`` dominate in the unit cube (to minimise), slice by slice."""
    if len(points[0]) == 1:
        return 1 - min(point[0] for point in points)
    ordered = sorted(points, key=lambda point: point[-1])
    ends = [point[-1] for point in ordered[1:]] + [1.0]
    return sum(
        (end - point[-1]) * _volume([other[:-1] for other in ordered[:number]])
        for number, (point, end) in enumerate(zip(ordered, ends, strict=True), start=1)
        if end > point[-1]
    )


# -- what was chosen where ---------------------------------------------------------------------------


def operators(rows: Sequence[TrialRecord], chosen: Sequence[TrialRecord]) -> go.Figure:
    """Draw which operator stands in every block, in all evaluated designs and in the ``chosen`` ones."""
    return _shares(rows, chosen, lambda block: block.operator, operator_names())


def positions(rows: Sequence[TrialRecord], chosen: Sequence[TrialRecord]) -> go.Figure:
    """Draw which positional encoding every block has, as `operators` does."""
    return _shares(rows, chosen, lambda block: block.pos, POSITIONS)


def _shares(
    rows: Sequence[TrialRecord],
    chosen: Sequence[TrialRecord],
    read: Callable[[Block], str],
    order: Sequence[str],
) -> go.Figure:
    evaluated = [row for row in rows if row.evaluated]
    counted = [_count(group, read) for group in (evaluated, chosen)]
    places = list(counted[0])
    seen = {name for counts in counted for counter in counts.values() for name in counter}
    names = [name for name in order if name in seen]
    titles = [f"all {len(evaluated)} evaluated", f"the {len(chosen)} best"]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.07, subplot_titles=titles)
    for column, (group, counts) in enumerate(zip((evaluated, chosen), counted, strict=True), start=1):
        for name in [*names, "absent"]:
            number = [
                len(group) - sum(counts.get(place, Counter()).values())
                if name == "absent"
                else counts.get(place, Counter())[name]
                for place in places
            ]
            if name == "absent" and not any(number) and column == 1:
                continue
            share = [100 * count / max(1, len(group)) for count in number]
            colour = _ABSENT if name == "absent" else _COLOURS[order.index(name) % len(_COLOURS)]
            figure.add_trace(
                go.Bar(
                    x=share,
                    y=places,
                    orientation="h",
                    name="no such block" if name == "absent" else name,
                    legendgroup=name,
                    showlegend=column == 1,
                    marker={"color": colour, "line": {"width": 0}},
                    text=[f"{value:.0f}" if value >= 9 else "" for value in share],
                    textposition="inside",
                    insidetextanchor="middle",
                    textangle=0,
                    textfont={"size": 11, **({} if name == "absent" else {"color": "white"})},
                    customdata=number,
                    hovertemplate=(
                        f"%{{y}}: {name} in %{{customdata}} of {len(group)} (%{{x:.0f}}%)<extra></extra>"
                    ),
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(range=[0, 100.5], tickvals=[0, 50, 100], ticktext=["0", "50%", "100%"])
    figure.update_yaxes(autorange="reversed", ticksuffix=" ")
    figure.update_layout(
        barmode="stack",
        bargap=0.22,
        height=150 + 27 * len(places),
        legend={**_LEGEND, "y": 1 + 34 / (27 * max(1, len(places)))},
        margin={**_MARGIN, "t": 84, "b": 36, "l": 16},
    )
    return figure


def _count(rows: Sequence[TrialRecord], read: Callable[[Block], str]) -> dict[str, Counter[str]]:
    counts: dict[tuple[int, int], Counter[str]] = {}
    for row in rows:
        for stage_number, stage in enumerate(row.architecture.stages, start=1):
            for block_number, block in enumerate(stage.blocks, start=1):
                counts.setdefault((stage_number, block_number), Counter())[read(block)] += 1
    return {f"stage {stage} · block {block}": counts[stage, block] for stage, block in sorted(counts)}


# -- along the depth of a network --------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """One line of a figure.

    Args:
        name: For the legend.
        across: Values on the horizontal axis.
        upward: Values on the vertical axis; None leaves a gap.
        words: What the hover box says of every point.
        marked: Which points stand out.
    """

    name: str
    across: Sequence[float]
    upward: Sequence[float | None]
    words: Sequence[str]
    marked: Sequence[bool]


def curves(lines: Sequence[Curve], x: str, y: str) -> go.Figure:
    """Draw lines over one another; both axes run from 0 to 1.

    Args:
        lines: What to draw.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
    """
    figure = go.Figure()
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = ("solid", "dash", "dot")[number // len(_COLOURS) % 3]
        figure.add_trace(
            go.Scatter(
                x=list(line.across),
                y=list(line.upward),
                name=line.name,
                mode="lines+markers",
                line={"color": colour, "width": 2.5, "dash": dash},
                marker={
                    "size": [11 if mark else 7 for mark in line.marked],
                    "symbol": ["diamond" if mark else "circle" for mark in line.marked],
                    "color": colour,
                    "line": _RIM,
                },
                hovertext=list(line.words),
                hovertemplate="<b>%{y:.3f}</b> %{hovertext}",
            )
        )
    known = [value for line in lines for value in line.upward if value is not None]
    figure.update_xaxes(title=x, range=[0, 1.03])
    figure.update_yaxes(title=y, range=[min([0.0, *known]) - 0.02, 1.04] if known else [0, 1.04])
    figure.update_layout(height=_HEIGHT, hovermode="closest", legend=_LEGEND, margin=_MARGIN, showlegend=True)
    return figure
