"""What results.json says: paired comparisons, the tables of NOTES.md, and the figure.

As a script it prints the tables::

    python studies/cifar10_nano/summary.py
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import plotly.graph_objects as go
from scipy import stats

from nas.report.figure_style import BLUE, COLOURS, GREY, HEIGHT, LEGEND, MARGIN, VERMILION
from nas.report.html import figure, page, section

RESULTS = Path(__file__).parent / "results.json"
CONFIDENCE = 0.95
#: Seeds beyond which not all signs of their differences are gone through.
_MOST_SEEDS = 16


@dataclass(frozen=True)
class Comparison:
    """Found less another, paired by seed.

    Args:
        difference: Mean of the differences, in points.
        half: Half of the interval around it of Student's paired t, or None for less than two seeds.
        wins: Seeds with which what was found is better.
        seeds: Seeds that both have.
        p: Share of all choices of the differences' signs whose mean is as far from zero: the exact two-sided test of
            Fisher (1935). With n seeds it cannot be less than 2 / 2^n.
    """

    difference: float
    half: float | None
    wins: int
    seeds: int
    p: float

    def cells(self) -> str:
        """Return the cells of a table's row."""
        interval = (
            "–"
            if self.half is None
            else f"{self.difference - self.half:+.1f} to {self.difference + self.half:+.1f}"
        )
        return f"{self.difference:+.1f} | {interval} | {self.wins} of {self.seeds} | {self.p:.3f}"


def compare(found: Mapping[str, float], other: Mapping[str, float]) -> Comparison | None:
    """Compare accuracies by seed, over the seeds that both have; None where there are none."""
    gaps = [found[seed] - other[seed] for seed in found if seed in other][:_MOST_SEEDS]
    if not gaps:
        return None
    mean, half = fmean(gaps), None
    if len(gaps) > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1))
        half = quantile * stdev(gaps) / math.sqrt(len(gaps))
    means = [
        abs(fmean(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in product((1, -1), repeat=len(gaps))
    ]
    p = fmean(each >= abs(mean) - 1e-9 for each in means)
    return Comparison(mean, half, sum(gap > 0 for gap in gaps), len(gaps), p)


def compare_with_mean(found: Sequence[float], others: Sequence[float]) -> tuple[float, float | None]:
    """Return the difference of two means, and half of Welch's interval around it (Biometrika 1947), or None."""
    difference = fmean(found) - fmean(others)
    if min(len(found), len(others)) < 2:
        return difference, None
    parts = [stdev(each) ** 2 / len(each) for each in (found, others)]
    if not sum(parts):
        return difference, 0.0
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (found, others), strict=True)
    )
    return difference, float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(sum(parts))


def to_tables(content: Mapping[str, Any]) -> list[str]:
    """Return the Markdown of the results: of each MACs target its rows and what they cost, then the SVM."""
    lines = []
    for target in content["targets"]:
        lines += [*_describe(target), "", *_rows(target), "", *_random(target), "", *_costs(target), ""]
    if svm := content.get("svm"):
        lines += ["| RBF support-vector machine on pixels | validation top-1 | test top-1 |", "|---|---|---|"]
        lines += [
            f"| {name} | {each['val_top1']:.1f} | {each['test_top1']:.1f} |" for name, each in svm.items()
        ]
    return lines


def _accuracies(target: Mapping[str, Any], group: str) -> dict[str, dict[str, float]]:
    """Return the test accuracies by name and seed of a group."""
    return {
        row["name"]: row["test_top1"] for row in target["rows"] if row["group"] == group and row["test_top1"]
    }


def _found(target: Mapping[str, Any]) -> dict[str, float]:
    return _accuracies(target, "found").get("found", {})


def _describe(target: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each question that the comparison is made for."""
    yield f"{target['macs'] / 1e6:.2f}M MACs"
    found = _found(target)
    for words, group in (
        ("best published", "published"),
        ("best homogeneous", "homogeneous"),
        ("best random", "random"),
    ):
        known = _accuracies(target, group)
        if not known or not found:
            continue
        # Chosen by the test accuracies themselves, which favours it.
        name = max(known, key=lambda each: fmean(known[each].values()))
        if compared := compare(found, known[name]):
            gap, wins = f"{compared.difference:+.1f} points", f"{compared.wins} of {compared.seeds} seeds"
            yield f"- {words}: {name}; found less it {gap}, better with {wins}"


def _rows(target: Mapping[str, Any]) -> Iterator[str]:
    yield "| | network | MACs | test top-1 | found less it | 95% interval | found better | p | its MACs |"
    yield "|---|---|---|---|---|---|---|---|---|"
    found = _found(target)
    for row in target["rows"]:
        accuracies = row["test_top1"]
        compared = None if row["group"] == "found" else compare(found, accuracies)
        cells = "– | – | – | –" if compared is None else compared.cells()
        yield (
            f"| {row['group']} | {row['name']} | {format_macs(row['macs'])} | "
            f"{format_spread(list(accuracies.values()))} | {cells} | {row['remark']} |"
        )


def _random(target: Mapping[str, Any]) -> Iterator[str]:
    trained, found = target["random"], list(_found(target).values())
    if not trained:
        return
    accuracies = [each["test_top1"] for each in trained]
    line = f"{len(trained)} random designs, one training each: test top-1 {format_spread(accuracies)}"
    if found:
        difference, half = compare_with_mean(found, accuracies)
        interval = "" if half is None else f" ({difference - half:+.1f} to {difference + half:+.1f})"
        line += f"; found less their mean {difference:+.1f}{interval}"
    yield line


def _costs(target: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the searches cost by phase, and the random designs beside them."""
    searches = target["searches"]
    yield "| core-hours | mean of a search |"
    yield "|---|---|"
    for phase in searches[0]["core_seconds"] if searches else ():
        yield f"| {phase} | {fmean(each['core_seconds'][phase] for each in searches) / 3600:.3f} |"
    if searches:
        total = fmean(sum(each["core_seconds"].values()) for each in searches)
        yield f"| whole search | {total / 3600:.3f} |"
    if trained := target["random"]:
        yield f"| {len(trained)} random designs | {sum(each['seconds'] for each in trained) / 3600:.3f} |"


def format_macs(macs: Sequence[int]) -> str:
    """Return MACs of one design or the range of several."""
    if not macs:
        return "–"
    low, high = min(macs) / 1e6, max(macs) / 1e6
    return f"{low:.2f}M" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f}-{high:.2f}M"


def format_spread(values: Sequence[float]) -> str:
    """Return ``mean ± standard deviation``; no deviation of a single value."""
    if not values:
        return "–"
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def write_page(content: Mapping[str, Any], file: Path) -> None:
    """Write the figure as a page: test accuracy over MACs, with bars of one standard deviation over seeds."""
    figures = {"headline": plot(content)}
    text = "Bars are a standard deviation over seeds; small dots are random designs with one training each."
    body = section("Test accuracy at equal MACs", text, figure("headline", figures))
    file.write_text(page("CIFAR-10 nano", ["<h1>CIFAR-10 nano</h1>", body], figures), encoding="utf-8")


def plot(content: Mapping[str, Any]) -> go.Figure:
    """Return the figure of `write_page`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in (row for target in content["targets"] for row in target["rows"] if row["test_top1"]):
        groups.setdefault(row["group"], []).append(row)
    drawn = [each for target in content["targets"] for each in target["random"]]
    small = {"size": 5, "color": GREY}
    xs, ys = [each["macs"] for each in drawn], [each["test_top1"] for each in drawn]
    traces = [go.Scatter(x=xs, y=ys, mode="markers", name="random, one training", marker=small)]
    colours = dict(zip(groups, (VERMILION, BLUE, *COLOURS[1:4]), strict=False))
    for group, rows in groups.items():
        values = [list(row["test_top1"].values()) for row in rows]
        traces.append(
            go.Scatter(
                x=[fmean(row["macs"]) for row in rows],
                y=[fmean(each) for each in values],
                error_y={
                    "type": "data",
                    "array": [stdev(v) if len(v) > 1 else 0 for v in values],
                    "thickness": 1.2,
                },
                mode="markers+text",
                text=[row["name"] if row["name"] != group else "" for row in rows],
                textposition="middle right",
                textfont={"size": 11},
                name=group,
                marker={"size": 11, "color": colours[group]},
            )
        )
    drawing = go.Figure(traces)
    drawing.update_layout(height=HEIGHT, legend=LEGEND, margin=MARGIN, hovermode="closest")
    drawing.update_xaxes(title="multiply-accumulates of an image", tickformat="~s")
    drawing.update_yaxes(title="test top-1 in percent")
    return drawing


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of a results.json, and write its figure where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="the HTML file to write the figure to")
    options = parser.parse_args(arguments)
    content = json.loads(options.results.read_text(encoding="utf-8"))
    print(*to_tables(content), sep="\n")
    if options.page:
        write_page(content, options.page)


if __name__ == "__main__":
    main()
