"""What was chosen where: shares of operators and positional encodings, block by block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.report.figure_style import COLOURS, GREY, LEGEND, MARGIN
from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.trial_store import TrialRecord
from search_spaces.architecture import Block
from search_spaces.operators import POSITIONS, operator_names
from search_spaces.walk import walk_blocks

_ABSENT = "absent"  # in place of an option: the design has no such block
_ABSENT_COLOUR = "rgba(128,128,128,0.22)"
_BAR_PIXELS = 27
_LEAST_LABEL = 9  # percent; smaller bars have no room for a number


def select_elite(trials: Sequence[TrialRecord], goal: Goal, share: float = 0.1) -> list[TrialRecord]:
    """Return the measured trials of the front together with the best ``share`` in the first objective."""
    measured = [trial for trial in trials if trial.measured]
    values = [goal.values(trial.scores) for trial in measured]
    sign = -1 if goal.directions[0] == "maximize" else 1
    best = sorted(range(len(measured)), key=lambda i: sign * values[i][0])[: round(share * len(measured))]
    return [measured[i] for i in sorted({*best, *front(values, goal.directions)})]


def plot_operators(trials: Sequence[TrialRecord], elite: Sequence[TrialRecord]) -> go.Figure:
    """Plot which operator every block has, in all evaluated designs and in the ``elite``."""
    return _plot_shares(trials, elite, lambda block: block.operator, operator_names())


def plot_positions(trials: Sequence[TrialRecord], elite: Sequence[TrialRecord]) -> go.Figure:
    """Plot which positional encoding every block has, as ``plot_operators`` does."""
    return _plot_shares(trials, elite, lambda block: block.pos, POSITIONS)


def _plot_shares(
    trials: Sequence[TrialRecord],
    elite: Sequence[TrialRecord],
    option_of: Callable[[Block], str],
    options: Sequence[str],
) -> go.Figure:
    evaluated = [trial for trial in trials if trial.evaluated]
    counts, elite_counts = _count_options(evaluated, option_of), _count_options(elite, option_of)
    occurring: set[str] = set().union(*counts.values(), *elite_counts.values())
    blocks = list(counts)
    titles = [f"all {len(evaluated)} evaluated", f"the {len(elite)} best"]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.07, subplot_titles=titles)
    for column, (total, by_block) in enumerate(
        ((len(evaluated), counts), (len(elite), elite_counts)), start=1
    ):
        chosen = [by_block.get(block, Counter()) for block in blocks]
        for option in (option for option in options if option in occurring):
            colour = COLOURS[options.index(option) % len(COLOURS)]
            numbers = [counter[option] for counter in chosen]
            bars = _bars(blocks, numbers, total, option, colour, showlegend=column == 1)
            figure.add_trace(bars, row=1, col=column)
        absent = [total - sum(counter.values()) for counter in chosen]
        if any(absent) or column == 2:
            bars = _bars(blocks, absent, total, _ABSENT, _ABSENT_COLOUR, showlegend=column == 1)
            figure.add_trace(bars, row=1, col=column)
    figure.update_xaxes(range=[0, 100.5], tickvals=[0, 50, 100], ticktext=["0", "50%", "100%"])
    figure.update_yaxes(autorange="reversed", ticksuffix=" ")
    height = 150 + _BAR_PIXELS * len(blocks)
    figure.update_layout(
        barmode="stack",
        bargap=0.22,
        height=height,
        meta={"narrow": _narrow_layout(blocks, ["all", f"{len(elite)} best"], height)},
        legend={**LEGEND, "y": 1 + 34 / (_BAR_PIXELS * max(1, len(blocks)))},
        margin={**MARGIN, "t": 84, "b": 36, "l": 16},
    )
    return figure


def _narrow_layout(blocks: Sequence[str], titles: Sequence[str], height: int) -> dict[str, Any]:
    """Return what changes on a narrow screen: short names of blocks and titles, and room for a legend of many lines.

    Args:
        blocks: Names of the blocks.
        titles: Of the two figures.
        height: Of the figure where there is room, in pixels.
    """
    return {
        "height": height + 110,
        "yaxis.tickvals": list(blocks),
        "yaxis.ticktext": [re.sub(r"\D+", ".", block).strip(".") for block in blocks],
        "xaxis.tickvals": [0, 50],
        "xaxis2.tickvals": [0, 50],
        **{f"annotations.{number}.text": title for number, title in enumerate(titles)},
    }


def _bars(
    blocks: Sequence[str], numbers: Sequence[int], total: int, option: str, colour: str, *, showlegend: bool
) -> go.Bar:
    """Return the bars of one option, a bar a block.

    Args:
        blocks: Names of the blocks.
        numbers: Designs that have the option there.
        total: All designs.
        option: The option.
        colour: Of the bars.
        showlegend: Whether the legend has it; two figures side by side share one.
    """
    shares = [100 * number / max(1, total) for number in numbers]
    return go.Bar(
        x=shares,
        y=blocks,
        orientation="h",
        name="no such block" if option == _ABSENT else option,
        legendgroup=option,
        showlegend=showlegend,
        marker={"color": colour, "line": {"width": 0}},
        text=[f"{share:.0f}" if share >= _LEAST_LABEL else "" for share in shares],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"size": 11, "color": GREY if option == _ABSENT else "white"},
        customdata=numbers,
        hovertemplate=f"%{{y}}: {option} in %{{customdata}} of {total} (%{{x:.0f}}%)<extra></extra>",
    )


def _count_options(
    trials: Sequence[TrialRecord], option_of: Callable[[Block], str]
) -> dict[str, Counter[str]]:
    """Return how often every block has every option, by the block's name, first block to last."""
    counts: dict[tuple[int, int], Counter[str]] = {}
    for trial in trials:
        for part in walk_blocks(trial.architecture):
            counts.setdefault((part.stage + 1, part.index + 1), Counter())[option_of(part.block)] += 1
    return {f"stage {stage} · block {block}": counts[stage, block] for stage, block in sorted(counts)}
