"""The page of how well scores order designs that were trained alone."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nas.report.figure_style import BLUE, HEIGHT, LEGEND, MARGIN, RIM
from nas.report.html import figure, page, section, table

_TITLE = "Does the supernet order designs as training does?"


def to_page(ranking: Mapping[str, Any], study: str) -> str:
    """Return the page of what ``nas rank`` measured in a study."""
    figures: dict[str, go.Figure] = {}
    return page(
        _TITLE,
        [
            f'<header><h1>{_TITLE}</h1><p class="lead">Study {html.escape(study)}: '
            f"{len(ranking['designs'])} designs, each trained alone.</p>"
            f'<p class="summary">{describe(ranking)}</p></header>',
            scatter_section(ranking, figures),
            order_section(ranking),
        ],
        figures,
    )


def ranking_section(ranking: Mapping[str, Any], figures: dict[str, go.Figure]) -> str:
    """Return what a report says of the supernet's order."""
    return scatter_section(ranking, figures, f"{_TITLE} {describe(ranking)}") + order_section(ranking)


def scatter_section(ranking: Mapping[str, Any], figures: dict[str, go.Figure], before: str = "") -> str:
    """Return the picture of accuracies alone over those with the supernet's weights; its figure is added.

    Args:
        ranking: What ``nas rank`` measured.
        figures: The page's figures by name.
        before: What is said before the picture is explained.
    """
    figures["order"] = plot_order(ranking["designs"], ranking["predictors"][0]["predictor"])
    return section(
        "Accuracy alone over the score with the supernet's weights",
        f"{before} Where the order is the same, the points rise from left to right. Colours are MACs: what looks like "
        "order may be size. Bars span the seeds of a design.",
        figure("order", figures),
    )


def order_section(ranking: Mapping[str, Any]) -> str:
    """Return the table of all orders: of the scores, of the sizes, and of one seed against another."""
    rows = [
        [
            html.escape(each["predictor"]),
            str(each["designs"]),
            _format(each["tau"]),
            _format(each["rho"]),
            " / ".join(_format(quartile, interval=False) for quartile in each["tau_by_quartile"]),
            _format_points(each["regret"].get("5")),
            _format_points(each["regret"].get("10")),
        ]
        for name in ("predictors", "baselines", "ceiling")
        for each in ranking[name]
    ]
    headings = [
        "by",
        "designs",
        "Kendall tau",
        "Spearman rho",
        "tau in quartiles of MACs",
        "regret@5",
        "regret@10",
    ]
    return section(
        "Orders",
        "Intervals are 95%, over samples of designs. Sizes alone are what a supernet must beat; a training with "
        "another seed is as good as any score of one training can be.",
        table(headings, rows, numbers=6, first=1),
    )


def describe(ranking: Mapping[str, Any]) -> str:
    """Return in words how good the order is, beside what sizes alone and other seeds reach."""
    first, *_ = ranking["predictors"]
    sentences = [
        f"The order by the {html.escape(first['predictor'])} has a Kendall tau of <b>{_format(first['tau'])}</b>."
    ]
    known = [each for each in ranking["baselines"] if each["tau"]["value"] is not None]
    if known:
        best = max(known, key=lambda each: each["tau"]["value"])
        name = html.escape(best["predictor"])
        sentences.append(f"Size alone, in {name}, gives {_format(best['tau'])}.")
    taus = [each["tau"]["value"] for each in ranking["ceiling"] if each["tau"]["value"] is not None]
    if taus:
        sentences.append(
            f"Trainings with two seeds order the designs alike with {sum(taus) / len(taus):.2f}, which is the noise."
        )
    else:
        sentences.append("No design was trained with two seeds, so that the noise of training is not known.")
    return " ".join(sentences)


def plot_order(designs: Sequence[Mapping[str, Any]], predictor: str) -> go.Figure:
    """Plot the accuracy of designs alone over what scored them, coloured by MACs."""
    scored = [each for each in designs if each["scores"].get(predictor) is not None]
    seeds = [list(each["val_top1_by_seed"].values()) for each in scored]
    top1 = [each["val_top1"] for each in scored]
    if predictor == "supernet loss":
        title, scored_by = (
            "loss with the supernet's weights, its sign turned (nats)",
            "%{x:.3f} with the supernet",
        )
    else:
        title, scored_by = f"top-1 with the weights of the {predictor} (%)", "%{x:.1f}% with the supernet"
    points = go.Scatter(
        x=[each["scores"][predictor] for each in scored],
        y=top1,
        mode="markers",
        marker={
            "size": 10,
            "color": [each["macs"] / 1e6 for each in scored],
            "colorscale": "Viridis",
            "colorbar": {"title": "M MACs"},
            "line": RIM,
        },
        error_y={
            "array": [max(values) - mean for values, mean in zip(seeds, top1, strict=True)],
            "arrayminus": [mean - min(values) for values, mean in zip(seeds, top1, strict=True)],
            "color": BLUE,
            "thickness": 1,
        },
        text=[
            "<br>".join(html.escape(each[key]) for key in ("design", "digest", "origin")) for each in scored
        ],
        hovertemplate=f"%{{text}}<br>{scored_by}, %{{y:.1f}}% alone<extra></extra>",
    )
    plot = go.Figure([points])
    plot.update_layout(height=HEIGHT, margin=MARGIN, legend=LEGEND, showlegend=False)
    plot.update_xaxes(title=title)
    plot.update_yaxes(title="top-1 trained alone (%)")
    return plot


def _format(estimate: Mapping[str, Any], *, interval: bool = True) -> str:
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.2f}"
    if interval and estimate["low"] is not None:
        text += f" ({estimate['low']:.2f} to {estimate['high']:.2f})"
    return text


def _format_points(points: float | None) -> str:
    return "–" if points is None else f"{points:.1f}"
