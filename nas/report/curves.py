"""Curves along the depth of networks, laid over one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from nas.report.figure_style import COLOURS, HEIGHT, LEGEND, MARGIN, RIM

_DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Curve:
    """One line of a figure.

    Args:
        name: For the legend.
        x: Values on the horizontal axis.
        y: Values on the vertical axis; None leaves a gap.
        hover_texts: What the hover box says of every point.
        marked: Which points stand out.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    hover_texts: Sequence[str]
    marked: Sequence[bool]


def plot_curves(curves: Sequence[Curve], x_title: str, y_title: str) -> go.Figure:
    """Plot curves over one another; both axes run from 0 to 1.

    Args:
        curves: What to plot.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
    """
    figure = go.Figure()
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
        figure.add_trace(
            go.Scatter(
                x=list(curve.x),
                y=list(curve.y),
                name=curve.name,
                mode="lines+markers",
                line={"color": colour, "width": 2.5, "dash": dash},
                marker={
                    "size": [11 if marked else 7 for marked in curve.marked],
                    "symbol": ["diamond" if marked else "circle" for marked in curve.marked],
                    "color": colour,
                    "line": RIM,
                },
                hovertext=list(curve.hover_texts),
                hovertemplate="<b>%{y:.3f}</b> %{hovertext}",
            )
        )
    known = [value for curve in curves for value in curve.y if value is not None]
    figure.update_xaxes(title=x_title, range=[0, 1.03])
    figure.update_yaxes(title=y_title, range=[min([0.0, *known]) - 0.02, 1.04] if known else [0, 1.04])
    figure.update_layout(height=HEIGHT, hovermode="closest", legend=LEGEND, margin=MARGIN, showlegend=True)
    return figure
