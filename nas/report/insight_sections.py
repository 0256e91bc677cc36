"""What a report says that was learned: effects of choices, their importances, and the checklist of good practice."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import groupby

import plotly.graph_objects as go

from nas.insight.best_practices import COMPLIES, FAILS, SECTIONS, Check
from nas.insight.choice_shares import OPERATOR
from nas.insight.effects import Effect
from nas.insight.lessons import ALONE, Lesson
from nas.insight.sentences import describe_effects, describe_importances, describe_points, name_choice
from nas.report.figure_style import BLUE, GREY, LEGEND, MARGIN
from nas.report.html import figure, section, table

_ROW_PIXELS = 22
_PAPER = (
    '<a href="https://arxiv.org/abs/1909.02453">Lindauer &amp; Hutter, "Best Practices for Scientific Research on '
    'Neural Architecture Search"</a> (JMLR 21, 2020)'
)


def insight_section(lessons: Sequence[Lesson], figures: dict[str, go.Figure]) -> str:
    """Return what was learned of choices, in words and as pictures; the figures are added.

    Args:
        lessons: What there is to learn, best accuracies first.
        figures: The page's figures by name.
    """
    parts = []
    for number, lesson in enumerate(lessons):
        trust = (
            "each trained from random weights"
            if lesson.source == ALONE
            else "scored with shared weights and proposed by the search: training them alone may not bear it out"
        )
        parts.append(f"<h3>By {lesson.source}</h3><p>{lesson.designs} designs, {trust}.</p>")
        if not lesson.effects:
            parts.append("<p>Too few designs to tell what choices are worth.</p>")
            continue
        sentences = [*describe_effects(lesson.effects), describe_importances(lesson.importances)]
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences if sentence)
        parts.append(f"<ul>{items}</ul>")
        if drawn := select_drawn(lesson.effects):
            name = f"effects-{number}"
            figures[name] = plot_effects(drawn)
            parts.append(figure(name, figures))
    if not parts:
        return ""
    text = (
        "What a stage gains that has a value in all its blocks, against another value, at equal MACs, in points of "
        "top-1, with intervals of 95% over samples of designs: operators of all stages at once, every other choice at "
        "equal operators, by least squares with bootstrap. What is within its interval is called noise. Which choices "
        "matter: fANOVA of what designs have above others of their MACs, over active choices alone."
    )
    return section("What was learned", text, *parts)


def select_drawn(effects: Sequence[Effect]) -> list[Effect]:
    """Return the effects that are drawn: of operators all, of other choices those with a clear one."""
    clear = {effect.choice for effect in effects if effect.clear}
    return [effect for effect in effects if effect.choice.name == OPERATOR or effect.choice in clear]


def plot_effects(effects: Sequence[Effect]) -> go.Figure:
    """Plot effects as points with intervals, a line each, under the names of their choices."""
    labels: list[str] = []
    for choice, group in groupby(effects, key=lambda effect: effect.choice):
        labels.append(f"<b>{html.escape(f'{choice.place}, {name_choice(choice)}')}</b>")
        labels += [f"{html.escape(effect.value)} : {html.escape(effect.reference)}" for effect in group]
    plot, places = go.Figure(), _places(effects)
    for clear, name in ((True, "clear"), (False, "within its interval")):
        shown = [
            (effect, place) for effect, place in zip(effects, places, strict=True) if effect.clear is clear
        ]
        if shown:
            plot.add_trace(_points(shown, name, BLUE if clear else GREY, filled=clear))
    plot.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        range=[len(labels) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    plot.update_xaxes(title="points of top-1", zeroline=True, zerolinewidth=2)
    plot.update_layout(height=110 + _ROW_PIXELS * len(labels), margin={**MARGIN, "l": 16}, legend=LEGEND)
    return plot


def _places(effects: Sequence[Effect]) -> list[int]:
    """Return the line of every effect; each choice has one before them for its name."""
    places, line, last = [], -1, None
    for effect in effects:
        line += 1 if effect.choice == last else 2
        last = effect.choice
        places.append(line)
    return places


def _points(shown: Sequence[tuple[Effect, int]], name: str, colour: str, *, filled: bool) -> go.Scatter:
    values = [effect.points.value or 0.0 for effect, _ in shown]
    return go.Scatter(
        x=values,
        y=[place for _, place in shown],
        mode="markers",
        name=name,
        marker={"size": 9, "color": colour, "symbol": "circle" if filled else "circle-open"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [(effect.points.high or 0.0) - (effect.points.value or 0.0) for effect, _ in shown],
            "arrayminus": [(effect.points.value or 0.0) - (effect.points.low or 0.0) for effect, _ in shown],
            "thickness": 1.4,
            "width": 3,
        },
        hovertext=[
            f"{html.escape(effect.value)} against {html.escape(effect.reference)}<br>"
            f"{describe_points(effect.points)}<br>{effect.designs} designs have it"
            for effect, _ in shown
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def practices_section(checks: Sequence[Check]) -> str:
    """Return the checklist of good practice with its verdicts."""
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in (COMPLIES, FAILS)}
    rows = [
        [
            str(check.number),
            html.escape(check.practice),
            f"<b>{check.verdict}</b>" if check.verdict == FAILS else check.verdict,
            html.escape(check.reason),
            html.escape(check.record),
        ]
        for check in checks
    ]
    sections = ", ".join(
        f"{min(own)}-{max(own)} {name} (section {number})"
        for number, name in SECTIONS.items()
        if (own := [check.number for check in checks if check.section == number])
    )
    text = (
        f"The practices of {_PAPER}, in other words: {sections}. The study complies with {counts[COMPLIES]} of "
        f"{len(checks)} and does not with {counts[FAILS]}; the others cannot be known from its records."
    )
    return section(
        "Good practice", text, table(["", "practice", "this study", "because", "read from"], rows, numbers=0)
    )
