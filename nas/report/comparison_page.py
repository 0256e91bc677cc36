"""The page that shows several studies side by side."""

from __future__ import annotations

import html
import json
from pathlib import Path

import plotly.graph_objects as go

from nas.report.cost_section import describe_total
from nas.report.figure_style import (
    COLOURS,
    HEIGHT,
    LEGEND,
    MARGIN,
    RIM,
    accuracy_bars,
    error_bars,
    scatter_trials,
)
from nas.report.html import contents, download, figure, page, section, sorted_by, table
from nas.report.scores import NAMES, TITLES, format_cost, format_score
from nas.report.study_comparison import ComparedStudy, StudyComparison
from nas.runtime.files import write_text
from nas.runtime.uncertainty import Accuracy

_NONE = "–"
_FAINT = 0.28  # opacity of designs that are on no front


def write_comparison(comparison: StudyComparison, out: Path) -> None:
    """Write the page of a comparison.

    Args:
        comparison: What to show.
        out: The HTML file.

    Raises:
        WorkError: If it cannot be written.
    """
    figures: dict[str, go.Figure] = {}
    names = [html.escape(study.name) for study in comparison.studies]
    sections = [
        _fronts_section(comparison, figures),
        _summary_section(comparison),
        _retrained_section(comparison, figures),
        _history_section(comparison, figures),
        _settings_section(comparison),
        _data_section(comparison),
    ]
    lead = f"Compared by {NAMES[comparison.gain]} and {NAMES[comparison.cost]}, on the same images."
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in comparison.notes)
    header = (
        f'<header><h1>{len(names)} studies side by side</h1><p class="lead">{", ".join(names)}. {lead}</p>'
        f"<ul>{notes}</ul></header>"
    )
    write_text(out, page("studies side by side", [header, contents(sections), *sections], figures))


def _colour(comparison: StudyComparison, study: ComparedStudy) -> str:
    return COLOURS[comparison.studies.index(study) % len(COLOURS)]


def _fronts_section(comparison: StudyComparison, figures: dict[str, go.Figure]) -> str:
    gain, cost = comparison.gain, comparison.cost
    plot = go.Figure()
    for study in comparison.studies:
        colour, name = _colour(comparison, study), html.escape(study.name)
        marker = {"size": 5, "color": colour, "opacity": _FAINT}
        others = scatter_trials(
            study.findings.measured, cost, gain, name=name, legendgroup=name, showlegend=False, marker=marker
        )
        best = scatter_trials(
            study.front,
            cost,
            gain,
            name=name,
            legendgroup=name,
            mode="lines+markers",
            error_y=error_bars(study.front, gain),
            line={"color": colour, "width": 2, "shape": "hv"},
            marker={"size": 9, "color": colour, "line": RIM},
        )
        plot.add_traces([others, best])
    plot.update_xaxes(title=TITLES[cost], tickformat="~s" if cost in ("macs", "params") else "")
    plot.update_yaxes(title=TITLES[gain])
    plot.update_layout(height=HEIGHT, hovermode="closest", legend=LEGEND, margin=MARGIN, showlegend=True)
    figures["fronts"] = plot
    text = "The front of each study over its other designs; accuracies have bars of one standard error."
    return section("Fronts", text, figure("fronts", figures))


def _summary_section(comparison: StudyComparison) -> str:
    gain, cost = comparison.gain, comparison.cost
    reference = ", ".join(
        f"{NAMES[name]} {f'{value:.1f}%' if name == 'top1' else format_cost(name, value)}"
        for name, value in zip((gain, cost), comparison.reference, strict=True)
    )
    rows = []
    for study in comparison.studies:
        findings, settings = study.findings, study.findings.study.settings()
        sign = -1 if comparison.directions[0] == "maximize" else 1
        best = min(study.front, key=lambda trial: sign * trial.scores[gain])
        accurate = study.most_accurate
        tie = " ≈" if comparison.tied_with_best.get(study.name) else ""
        volume = study.hypervolume
        seconds = sum(each.seconds for each in findings.spent)
        rows.append(
            [
                html.escape(study.name),
                str(len(findings.evaluated)),
                str(settings.recipe.epochs) if settings.trains_supernet else _NONE,
                sorted_by(seconds, describe_total(findings.spent)) if findings.spent else _NONE,
                format_score(gain, best),
                format_cost(cost, best.scores[cost]),
                _NONE if accurate is None else f"{accurate.accuracy}{tie}",
                _NONE if volume is None else f"{volume:.1f}%",
                str(len(study.front)),
            ]
        )
    heads = [
        "study",
        "designs",
        "supernet epochs",
        "cost of all",
        f"best {NAMES[gain]}",
        f"its {NAMES[cost]}",
        "most accurate",
        "hypervolume",
        "on front",
    ]
    text = (
        "The hypervolume is the share that a front dominates of the box around the designs of all studies; its "
        f"reference point is the worst of them in each ({reference}). ≈ marks studies whose most accurate design is "
        "within noise of the most accurate of all (McNemar's test where both were scored on the same images, 95%). The "
        "best of more designs is more optimistic."
    )
    return section("Budgets and results", text, table(heads, rows, numbers=len(heads) - 1))


def _retrained_section(comparison: StudyComparison, figures: dict[str, go.Figure]) -> str:
    plot, rows = go.Figure(), []
    for study in comparison.studies:
        results = study.findings.results
        for result in results:
            rows.append(
                [
                    html.escape(study.name),
                    f"<code>{html.escape(result['digest'])}</code>",
                    html.escape(result["mode"]),
                    format_cost("macs", result["macs"]),
                    str(Accuracy.from_result(result, "val")),
                    str(Accuracy.from_result(result, "test")),
                    str(result["recipe"].get("epochs", _NONE)),
                ]
            )
        if results:
            plot.add_trace(
                go.Scatter(
                    x=[result["macs"] for result in results],
                    y=[result["test_top1"] for result in results],
                    error_y=accuracy_bars([Accuracy.from_result(result, "test") for result in results]),
                    mode="markers",
                    name=html.escape(study.name),
                    marker={"size": 11, "color": _colour(comparison, study), "symbol": "square", "line": RIM},
                    hovertext=[
                        f"{html.escape(result['digest'])} {html.escape(result['mode'])}" for result in results
                    ],
                    hovertemplate="%{hovertext}<br>%{y:.2f}%<extra></extra>",
                )
            )
    if not rows:
        return ""
    plot.update_xaxes(title=TITLES["macs"], tickformat="~s")
    plot.update_yaxes(title="top-1 on test images (%)")
    plot.update_layout(height=380, hovermode="closest", legend=LEGEND, margin=MARGIN, showlegend=True)
    figures["retrained"] = plot
    heads = ["study", "digest", "mode", "MACs", "validation", "test", "epochs"]
    text = "Designs that were trained alone, ± one standard error: what counts in the end, and is free of supernets."
    return section(
        "Retrained designs", text, figure("retrained", figures), table(heads, rows, numbers=4, first=3)
    )


def _history_section(comparison: StudyComparison, figures: dict[str, go.Figure]) -> str:
    plot = go.Figure()
    for study in comparison.studies:
        if study.volumes:
            plot.add_trace(
                go.Scatter(
                    x=list(range(1, len(study.volumes) + 1)),
                    y=study.volumes,
                    mode="lines",
                    name=html.escape(study.name),
                    line={"color": _colour(comparison, study), "width": 2.5, "shape": "hv"},
                    hovertemplate="after %{x} designs: %{y:.1f}% of the box",
                )
            )
    if not plot.data:
        return ""
    plot.update_xaxes(title="measured designs")
    plot.update_yaxes(title="hypervolume (%)")
    plot.update_layout(height=360, legend=LEGEND, margin=MARGIN, showlegend=True)
    figures["hypervolumes"] = plot
    text = "How fast each search got there, in the common box; designs that racing stopped are not counted."
    return section("Hypervolume by designs", text, figure("hypervolumes", figures))


def _settings_section(comparison: StudyComparison) -> str:
    settings = comparison.settings()
    if not settings:
        return section("Settings", "The studies do not differ in any setting.")
    heads = ["setting", *(html.escape(study.name) for study in comparison.studies)]
    rows = [
        [f"<code>{html.escape(name)}</code>", *(html.escape(value) for value in values)]
        for name, values in settings.items()
    ]
    return section("Settings in which they differ", "All others are the same.", table(heads, rows, numbers=0))


def _data_section(comparison: StudyComparison) -> str:
    link = download("comparison.json", json.dumps(comparison.to_json(), indent=1), "application/json")
    folders = [
        [html.escape(study.name), f"<code>{html.escape(str(study.findings.study.folder))}</code>"]
        for study in comparison.studies
    ]
    return section("Data", f"In this page: {link}.", table(["study", "folder"], folders, numbers=0))
