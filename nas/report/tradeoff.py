"""The trade-off: the first objective over a cost, with the front, the published designs and retrained ones."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nas.report.figure_style import (
    BLUE,
    GREEN,
    GREY,
    HEIGHT,
    LEGEND,
    MARGIN,
    PURPLE,
    RIM,
    VERMILION,
    accuracy_bars,
    error_bars,
    scatter_trials,
    score_axis,
)
from nas.report.scores import axis_title
from nas.runtime.uncertainty import Accuracy, error_bar
from nas.search.objectives import Direction, Goal
from nas.search.pareto import front
from nas.search.ties import find_ties
from nas.search.trial_store import TrialRecord
from nas.study.designs import describe_origin

# Not the darkest and lightest of the usual scale: they drown in a dark or a light page.
_BATCH_COLOURS = [[0, "#8d7cc3"], [0.5, "#2a9d8f"], [1, "#e0b020"]]
_MODES = {"scratch": ("from scratch", "square", GREEN), "inherit": ("inherited", "diamond", PURPLE)}
_LOG_RANGE = 20  # a cost that spans more than this factor is plotted on a logarithmic axis
_NAME_PIXELS = 16  # from one name to the next
_LEAST_PLOT_SHARE = 0.5  # of the figure's height that the vertical axis takes, whatever its legend needs


def plot_tradeoff(
    trials: Sequence[TrialRecord],
    goal: Goal,
    cost: str,
    results: Sequence[Mapping[str, Any]],
    gain: str | None = None,
) -> go.Figure:
    """Plot a score over ``cost``: all measured designs, the front, analogues, and retrained ones over accuracy.

    Accuracies of the front and of retrained designs have bars of one standard error, and those designs of the front
    are filled that are within noise of the most accurate one.
    Designs that racing stopped are left out: their accuracies are of fewer images.

    Args:
        trials: Trials of the search.
        goal: Its objectives.
        cost: Score on the horizontal axis.
        results: Results of retraining.
        gain: Score on the vertical axis; None for the first objective.
    """
    gain = gain or goal.objectives[0]
    plotted = [trial for trial in trials if trial.measured and gain in trial.scores and cost in trial.scores]
    best = [plotted[i] for i in front([goal.values(trial.scores) for trial in plotted], goal.directions)]
    analogues = [trial for trial in plotted if trial.is_analogue]
    traces = [
        _sampled_points([trial for trial in plotted if not trial.is_analogue], cost, gain),
        _front_points(best, goal, cost, gain),
    ]
    if analogues:
        star = {"size": 13, "color": BLUE, "symbol": "star", "line": RIM}
        traces.append(scatter_trials(analogues, cost, gain, name="like a published design", marker=star))
    if "top1" in (gain, cost) and (tied := _tied_with_best(best)):
        dot = {"size": 7, "color": VERMILION}
        traces.append(scatter_trials(tied, cost, gain, name="within noise of the best", marker=dot))
    if gain == "top1":
        traces += _retrained_points(plotted, cost, goal.declaration(cost).direction, results)
    costs = [trial.scores[cost] for trial in plotted]
    cost_axis, gain_axis = _cost_axis(cost, costs), score_axis(gain, plotted, [*best, *analogues], results)
    figure = go.Figure(traces)
    if analogues:
        extent = gain_axis.get("range") or _extent(plotted, gain, results)
        logarithmic = cost_axis.get("type") == "log"
        names = _names(analogues, cost, gain, costs, extent, logarithmic)
        figure.update_layout(annotations=names, meta={"narrow": {"annotations": []}})
    figure.update_layout(height=HEIGHT, hovermode="closest", legend=LEGEND, margin=MARGIN)
    figure.update_xaxes(title=axis_title(cost, goal), **cost_axis)
    figure.update_yaxes(title=axis_title(gain, goal), **gain_axis)
    return figure


def _sampled_points(trials: Sequence[TrialRecord], cost: str, gain: str) -> go.Scatter:
    """Return the designs that the search proposed, coloured by their batch."""
    batches = max((trial.batch for trial in trials), default=0) + 1
    marker = {
        "size": 7,
        "color": [trial.batch + 1 for trial in trials],
        "colorscale": _BATCH_COLOURS,
        "colorbar": {"title": {"text": "batch"}, "thickness": 10, "len": 0.9, "dtick": -(-batches // 8)},
        "showscale": batches > 1,
        "opacity": 0.75,
    }
    return scatter_trials(trials, cost, gain, name="evaluated design", marker=marker)


def _front_points(best: Sequence[TrialRecord], goal: Goal, cost: str, gain: str) -> go.Scatter:
    # With a third objective the front is a surface: a line through its projection would mean nothing.
    mode = "lines+markers" if set(goal.objectives) == {gain, cost} else "markers"
    by_cost = sorted(best, key=lambda trial: trial.scores[cost])
    shape = "hv" if goal.declaration(cost).direction == "minimize" else "vh"
    return scatter_trials(
        by_cost,
        cost,
        gain,
        error_x=error_bars(by_cost, cost),
        error_y=error_bars(by_cost, gain),
        name="Pareto front" if len(goal.objectives) > 1 else "best",
        mode=mode,
        line={"color": VERMILION, "width": 2, "shape": shape},
        marker={"size": 11, "color": VERMILION, "symbol": "circle-open", "line": {"width": 2.5}},
    )


def _tied_with_best(best: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the most accurate design of a front and those within noise of it; none where it stands alone."""
    if not best:
        return []
    top = max(best, key=lambda trial: trial.scores["top1"])
    ties = find_ties(best)[top.architecture.digest]
    return [trial for trial in best if trial is top or trial.architecture.digest in ties] if ties else []


def _retrained_points(
    plotted: Sequence[TrialRecord], cost: str, direction: Direction, results: Sequence[Mapping[str, Any]]
) -> list[go.Scatter]:
    """Return retrained designs, and lines that lead to them from the same designs as paths of the supernet."""
    known = {trial.architecture.digest: trial.scores for trial in plotted}
    points = []  # (cost, result) of each
    lines_x: list[float | None] = []
    lines_y: list[float | None] = []
    for result in results:
        scores = known.get(result["digest"])
        # A published design that the search never evaluated has its costs in its result.
        costs = result if scores is None else scores
        if cost not in costs:
            continue
        points.append((costs[cost], result))
        if scores is not None:
            lines_x += [scores[cost], scores[cost], None]
            lines_y += [scores["top1"], result["val_top1"], None]
    traces = []
    if lines_x:
        dots = {"color": GREY, "width": 1, "dash": "dot"}
        traces.append(
            go.Scatter(x=lines_x, y=lines_y, mode="lines", line=dots, hoverinfo="skip", showlegend=False)
        )
    alone = [(x, result["val_top1"]) for x, result in points if result["mode"] == "scratch"]
    steps = sorted(alone[i] for i in front([(top1, x) for x, top1 in alone], ("maximize", direction)))
    if len(steps) > 1:
        line = {"color": GREEN, "width": 2, "shape": "hv" if direction == "minimize" else "vh"}
        x, y = zip(*steps, strict=True)
        traces.append(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name="retrained front"))
    for mode, (words, symbol, colour) in _MODES.items():
        of_mode = [(x, result) for x, result in points if result["mode"] == mode]
        if of_mode:
            traces.append(
                go.Scatter(
                    x=[x for x, _ in of_mode],
                    y=[result["val_top1"] for _, result in of_mode],
                    mode="markers",
                    error_y=accuracy_bars([Accuracy.from_result(result, "val") for _, result in of_mode]),
                    name=f"retrained, {words}",
                    marker={"size": 11, "color": colour, "symbol": symbol, "line": RIM},
                    hovertext=[
                        f"<b>{result['digest']}</b> {html.escape(describe_origin(result))} retrained, {words}<br>"
                        f"validation {Accuracy.from_result(result, 'val')}, "
                        f"test {Accuracy.from_result(result, 'test')}"
                        for _, result in of_mode
                    ],
                    hovertemplate="%{hovertext}<extra></extra>",
                )
            )
    return traces


def _extent(plotted: Sequence[TrialRecord], gain: str, results: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the lowest and highest value that an axis shows by itself, with the room that it leaves around them."""
    values = [trial.scores[gain] for trial in plotted]
    if gain == "top1":
        bars = [error_bar(trial.scores[gain], trial.images) for trial in plotted]
        values += [trial.scores[gain] + above for trial, (_, above) in zip(plotted, bars, strict=True)]
        values += [trial.scores[gain] - below for trial, (below, _) in zip(plotted, bars, strict=True)]
        values += [result["val_top1"] for result in results]
    room = 0.12 * (max(values) - min(values))
    return [min(values) - room, max(values) + room]


def _names(
    trials: Sequence[TrialRecord],
    x: str,
    y: str,
    across: Sequence[float],
    upward: Sequence[float],
    logarithmic: bool,
) -> list[dict[str, Any]]:
    """Return names with leaders for ``trials``, pushed apart upwards so that none lies on another at any width.

    Args:
        trials: What to name.
        x: Score on the horizontal axis.
        y: Score on the vertical axis.
        across: Values on the horizontal axis, for its extent.
        upward: Values on the vertical axis, for its extent.
        logarithmic: Whether the horizontal axis is; plotly then wants logarithms here.
    """
    # A taller axis drives names further apart, never nearer.
    pixels = HEIGHT * _LEAST_PLOT_SHARE / ((max(upward) - min(upward)) or 1.0)
    middle = (min(across) + max(across)) / 2
    names = []
    free = float("-inf")  # the lowest free height, in pixels
    for trial in sorted(trials, key=lambda trial: trial.scores[y]):
        # Away from the nearer edge of the picture, where a name would be cut off.
        side = "left" if trial.scores[x] <= middle else "right"
        point = trial.scores[y] * pixels
        height = max(point, free)
        free = height + _NAME_PIXELS
        names.append(
            {
                "x": math.log10(trial.scores[x]) if logarithmic else trial.scores[x],
                "y": trial.scores[y],
                "text": trial.origin,
                "font": {"size": 11.5},
                "xanchor": side,
                "ax": 26 if side == "left" else -26,
                "ay": point - height,
                "showarrow": True,
                "arrowhead": 0,
                "arrowwidth": 1,
                "arrowcolor": GREY,
                "standoff": 7,
            }
        )
    return names


def _cost_axis(name: str, values: Sequence[float]) -> dict[str, Any]:
    if name == "top1":
        return {}
    axis: dict[str, Any] = {"tickformat": "~s" if name in ("macs", "params") else ""}
    if values and min(values) > 0 and max(values) / min(values) > _LOG_RANGE:
        axis |= {"type": "log", "dtick": "D2"}
    return axis
