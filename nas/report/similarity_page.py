"""The page of feature similarity across depth."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nas.report.curves import Curve, plot_curves
from nas.report.html import figure, page, section, table

_TITLE = "Feature similarity across depth"


def to_page(result: Mapping[str, Any]) -> str:
    """Return the page of what ``analyze`` measured."""
    designs = result["designs"]
    figures = {"similarity": plot_similarities(designs)}
    rows = [
        [
            html.escape(design["label"]),
            f"<code>{design['digest']}</code>",
            str(len(design["blocks"])),
            "–" if design["mean"] is None else f"{design['mean']:.3f}",
        ]
        for design in designs
    ]
    measured = f"{result['images']} validation images of {html.escape(result['data'])}"
    return page(
        _TITLE,
        [
            f"<header><h1>{_TITLE}</h1>"
            f"<p class=\"lead\">Linear CKA of each block's output and the last block's, on {measured}.</p></header>",
            section(
                "How soon features are like the last ones",
                "A curve that rises early shows blocks that hardly change what is known already "
                "(over-smoothing); one that rises late, features that evolve through all depth. Diamonds begin "
                "a stage.",
                figure("similarity", figures),
            ),
            section(
                "Designs",
                "The mean is over all blocks but the last.",
                table(["design", "digest", "blocks", "mean similarity"], rows, numbers=2, first=2),
            ),
        ],
        figures,
    )


def plot_similarities(designs: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Plot the similarity of every block to the last, over the normalised depth, a curve for every design."""
    curves = [
        Curve(
            design["label"],
            x=[block["depth"] for block in design["blocks"]],
            y=[block["similarity"] for block in design["blocks"]],
            hover_texts=[f"{block['place']}<br>{block['block']}" for block in design["blocks"]],
            marked=[block["place"].endswith(".block1") for block in design["blocks"]],
        )
        for design in designs
    ]
    return plot_curves(curves, "depth (1 is the last block)", "CKA with the last block")
