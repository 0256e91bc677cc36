"""What the figures of a report share: colours, layout, points of trials and their hover boxes.

Text, grid and background colours are left to the page, which sets them for light and dark; the colours
here are mid-tones that read on both, and can be told apart by the colour-blind (after Okabe and Ito).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nas.report.scores import TITLES, format_score
from nas.runtime.uncertainty import Accuracy, error_bar
from nas.search.trial_store import TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.operators import operator_names

BLUE, GREEN, PURPLE, VERMILION = "#0f8bc9", "#1aa179", "#b5609a", "#d55e00"
GREY = "rgba(128,128,128,0.8)"
#: Colours of kinds of things, one after the other.
COLOURS = (BLUE, "#e69f00", GREEN, PURPLE, VERMILION, "#7a75c4", "#9aa522", "#5aa9a0")
RIM = {"width": 1, "color": "white"}
HEIGHT = 520  # pixels
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
MARGIN = {"l": 64, "r": 16, "t": 56, "b": 56}

_BLOCKS_A_LINE = 4  # of a hover box


def operator_colour(name: str) -> str:
    """Return the colour of an operator, which it has in every figure and drawing."""
    names = operator_names()
    return COLOURS[names.index(name) % len(COLOURS)] if name in names else GREY


def scatter_trials(trials: Sequence[TrialRecord], x: str, y: str, /, **trace: Any) -> go.Scatter:
    """Return one point a trial, with what is known of its design in a hover box.

    Args:
        trials: What to plot.
        x: Score on the horizontal axis.
        y: Score on the vertical axis.
        trace: The trace's other fields, and those to replace.
    """
    return go.Scatter(
        **{
            "mode": "markers",
            "x": [trial.scores[x] for trial in trials],
            "y": [trial.scores[y] for trial in trials],
            "hovertext": [hover_text(trial) for trial in trials],
            "hovertemplate": "%{hovertext}<extra></extra>",
            **trace,
        }
    )


def error_bars(trials: Sequence[TrialRecord], name: str) -> dict[str, Any]:
    """Return bars of one standard error for the points of ``trials``; none but for accuracies."""
    if name != "top1":
        return {}
    return accuracy_bars([trial.accuracy for trial in trials if trial.accuracy is not None])


def accuracy_bars(accuracies: Sequence[Accuracy]) -> dict[str, Any]:
    """Return bars of one standard error for the points of accuracies."""
    bars = [error_bar(accuracy.top1, accuracy.images) for accuracy in accuracies]
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for _, above in bars],
        "arrayminus": [below for below, _ in bars],
        "thickness": 1.2,
        "width": 3,
    }


def hover_text(trial: TrialRecord) -> str:
    """Return the digest, scores and design of a trial, for a hover box."""
    origin = "" if trial.origin == "sampled" else f"<br>{'like ' * trial.is_analogue}{trial.origin}"
    scores = [f"{name} {format_score(name, trial)}" for name in TITLES if name in trial.scores]
    return (
        f"<b>{trial.architecture.digest}</b> · batch {trial.batch + 1}{origin}<br>{', '.join(scores)}<br>"
        f"{design_lines(trial.architecture)}"
    )


def design_lines(architecture: Architecture) -> str:
    """Return a compact design, a stage a line, long stages broken, for a hover box."""
    lines = []
    for number, stage in enumerate(str(architecture).split(" | "), start=1):
        blocks = stage.split(" ")
        rows = [
            " ".join(blocks[start : start + _BLOCKS_A_LINE])
            for start in range(0, len(blocks), _BLOCKS_A_LINE)
        ]
        lines.append(f"{number}: " + "<br>    ".join(rows))
    return "<br>".join(lines)


def score_axis(
    name: str,
    plotted: Sequence[TrialRecord],
    always_visible: Sequence[TrialRecord] = (),
    results: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the settings of a vertical axis of a score; failed designs do not squeeze all others into a strip.

    Args:
        name: The score.
        plotted: Trials in the figure.
        always_visible: Those of them that have to be inside the range.
        results: Results of retraining that have to be inside it, too.
    """
    axis: dict[str, Any] = {"tickformat": "~s" if name in ("macs", "params") else ""}
    values = sorted(trial.scores[name] for trial in plotted)
    if name != "top1" or len(values) < 20:
        return axis
    # Without the lowest twentieth, if it lies far below; a double click shows it too.
    low = min([values[len(values) // 20], *(trial.scores[name] for trial in always_visible)])
    high = max([values[-1], *(result["val_top1"] for result in results)])
    if values[0] < low - (high - low):
        room = 0.06 * (high - low)
        axis["range"] = [low - room, high + room]
    return axis
