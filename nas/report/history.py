"""The history of a search: what every further design brought."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.report.figure_style import BLUE, GREEN, LEGEND, MARGIN, VERMILION, scatter_trials, score_axis
from nas.report.hypervolume import compute_hypervolumes
from nas.runtime.uncertainty import num_decimals
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord

_TITLES = {
    "top1": "top-1 (%)",
    "loss": "loss (nats)",
    "macs": "MACs",
    "params": "parameters",
    "latency_ms": "latency (ms)",
}
_VALUES = {"loss": "%{y:.3f}", "macs": "%{y:.3s}", "params": "%{y:.3s}", "latency_ms": "%{y:.3g}"}


def plot_history(trials: Sequence[TrialRecord], goal: Goal) -> go.Figure:
    """Plot the first objective of every measured design, the best so far, and the hypervolume.

    Designs that racing stopped, or that are beyond a limit, count on the horizontal axis, and have no point.
    """
    evaluated = [trial for trial in trials if trial.evaluated]
    measured = [trial for trial in evaluated if trial.eligible]
    counts = [count for count, trial in enumerate(evaluated, start=1) if trial.eligible]
    gain = goal.objectives[0]
    volumes = compute_hypervolumes([goal.values(trial.scores) for trial in measured], goal.directions)
    figure = make_subplots(
        rows=2 if volumes else 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        row_heights=[0.62, 0.38] if volumes else [1.0],
    )
    marker = {"size": 5, "color": BLUE, "opacity": 0.45}
    points = scatter_trials(measured, gain, gain, x=counts, name="evaluated design", marker=marker)
    figure.add_trace(points, row=1, col=1)
    pick = max if goal.directions[0] == "maximize" else min
    best = list(itertools.accumulate((trial.scores[gain] for trial in measured), pick))
    images = next((trial.images for trial in measured if trial.images is not None), None)
    value = f"%{{y:.{num_decimals(images)}f}}%" if gain == "top1" else _VALUES.get(gain, "%{y:.4g}")
    figure.add_trace(_steps(counts, best, VERMILION, "best so far", "best so far", value), row=1, col=1)
    figure.update_yaxes(
        title=_TITLES.get(gain) or goal.declaration(gain).title, row=1, col=1, **score_axis(gain, measured)
    )
    if volumes:
        share = "%{y:.1f}% of the box"
        line = _steps(counts, volumes, GREEN, "hypervolume of the front", "hypervolume", share)
        figure.add_trace(line, row=2, col=1)
        figure.update_yaxes(title="hypervolume (%)", row=2, col=1)
    ticks = {"dtick": 1} if len(evaluated) < 10 else {}
    figure.update_xaxes(title="evaluated designs", row=2 if volumes else 1, col=1, **ticks)
    figure.update_layout(height=460 if volumes else 340, legend=LEGEND, margin=MARGIN)
    return figure


def _steps(
    counts: Sequence[int], values: Sequence[float], colour: str, name: str, hover_name: str, value: str
) -> go.Scatter:
    """Return a line that holds each value until the next one.

    Args:
        counts: Evaluated designs, on the horizontal axis.
        values: Values on the vertical axis.
        colour: Of the line.
        name: For the legend.
        hover_name: For the hover box.
        value: How plotly writes a value in the hover box.
    """
    return go.Scatter(
        x=counts,
        y=values,
        mode="lines",
        line={"color": colour, "width": 2.5, "shape": "hv"},
        name=name,
        hovertemplate=f"after %{{x}} designs: {value}<extra>{hover_name}</extra>",
    )
