"""How losses fell and accuracies rose, epoch by epoch: of the supernet, and of designs trained alone."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.report.figure_style import COLOURS, LEGEND, MARGIN, VERMILION
from nas.report.html import figure, section
from nas.runtime.uncertainty import format_accuracy
from nas.study.designs import describe_origin
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME, Epoch, SupernetEpoch, read_history

_DASHES = {"scratch": "solid", "inherit": "dash"}
_MOST_CURVES = 16  # more cannot be told apart; the best ones are shown


@dataclass(frozen=True)
class _Curve:
    """The training of one design alone.

    Args:
        result: Its ``result.json``.
        epochs: Its epochs, first to last.
    """

    result: Mapping[str, Any]
    epochs: Sequence[Epoch]

    @property
    def name(self) -> str:
        """What the legend calls it."""
        origin = describe_origin(self.result)
        return f"{origin or self.result['digest']}, {self.result['mode']}"


def learning_section(
    study: Study, results: Sequence[Mapping[str, Any]], figures: dict[str, go.Figure]
) -> str:
    """Return how the supernet and the retrained designs learned; empty where nothing was recorded.

    Args:
        study: The study.
        results: Results of retraining, best first.
        figures: The page's figures by name; those of this section are added.

    Raises:
        StudyError: If a table of epochs is damaged.
    """
    supernet = read_history(study.supernet_file.with_name(FILE_NAME), SupernetEpoch)
    curves = [
        _Curve(result, epochs)
        for result in results
        if (epochs := read_history(_history_file(study, result), Epoch))
    ]
    parts, texts = [], []
    if supernet:
        figures["learning-supernet"] = plot_supernet(supernet)
        texts.append(
            "The supernet's loss is the mean over the paths of each epoch's steps, with the recipe's regularisation: "
            "where it still falls at the end, a longer training would change what the search sees."
        )
        parts.append(figure("learning-supernet", figures))
    if curves:
        figures["learning-retrained"] = plot_retrained(curves[:_MOST_CURVES])
        left_out = f"; the {_MOST_CURVES} best of {len(curves)}" if len(curves) > _MOST_CURVES else ""
        texts.append(
            "Retrained designs by the accuracy of their averaged weights on the validation images, and the loss on the "
            f"images they learn from{left_out}."
        )
        parts.append(figure("learning-retrained", figures))
    return section("Learning curves", " ".join(texts), *parts) if parts else ""


def _history_file(study: Study, result: Mapping[str, Any]) -> Path:
    return study.retraining_folder(result["digest"], result["mode"]) / FILE_NAME


def plot_supernet(epochs: Sequence[SupernetEpoch]) -> go.Figure:
    """Plot the training loss of a supernet over its epochs."""
    plot = go.Figure(
        go.Scatter(
            x=[epoch.epoch for epoch in epochs],
            y=[epoch.loss for epoch in epochs],
            mode="lines+markers",
            name="supernet",
            line={"color": VERMILION, "width": 2.5},
            marker={"size": 5},
            hovertext=[f"learning rate {epoch.lr:.2g}, {epoch.seconds:.1f} s" for epoch in epochs],
            hovertemplate="epoch %{x}: loss %{y:.3f}<br>%{hovertext}<extra></extra>",
        )
    )
    plot.update_xaxes(title="epoch", rangemode="tozero", **_whole_ticks(epochs[-1].epoch))
    plot.update_yaxes(title="training loss (nats)")
    plot.update_layout(height=320, margin=MARGIN, showlegend=False)
    return plot


def plot_retrained(curves: Sequence[_Curve]) -> go.Figure:
    """Plot validation accuracy and training loss of designs over their epochs; inherited weights are dashed."""
    plot = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.62, 0.38])
    digests = list(dict.fromkeys(curve.result["digest"] for curve in curves))
    for curve in curves:
        colour = COLOURS[digests.index(curve.result["digest"]) % len(COLOURS)]
        line = {"color": colour, "width": 2, "dash": _DASHES.get(curve.result["mode"], "dot")}
        name, images = html.escape(curve.name), curve.result.get("val_images")
        common = {
            "x": [epoch.epoch for epoch in curve.epochs],
            "mode": "lines",
            "line": line,
            "name": name,
            "legendgroup": name,
        }
        top1 = go.Scatter(
            **common,
            y=[epoch.val_top1 for epoch in curve.epochs],
            hovertext=[format_accuracy(epoch.val_top1, images) for epoch in curve.epochs],
            hovertemplate="epoch %{x}: %{hovertext}",
        )
        loss = go.Scatter(
            **common,
            y=[epoch.loss for epoch in curve.epochs],
            showlegend=False,
            hovertemplate="epoch %{x}: loss %{y:.3f}",
        )
        plot.add_trace(top1, row=1, col=1)
        plot.add_trace(loss, row=2, col=1)
    last = max(curve.epochs[-1].epoch for curve in curves)
    plot.update_xaxes(**_whole_ticks(last))
    plot.update_xaxes(title="epoch", row=2, col=1)
    plot.update_yaxes(title="top-1 (%)", row=1, col=1)
    plot.update_yaxes(title="loss (nats)", row=2, col=1)
    plot.update_layout(height=520, legend=LEGEND, margin=MARGIN, showlegend=True)
    return plot


def _whole_ticks(epochs: int) -> dict[str, int]:
    """Return axis settings by which few epochs have no ticks between them."""
    return {"dtick": 1} if epochs <= 10 else {}
