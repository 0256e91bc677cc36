"""The table of the study: how well what each way scores orders designs, mean ± standard deviation over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev, stdev
from typing import Any

from nas.ranking.agreement import LEAST_DESIGNS, regret_at
from nas.ranking.calibration import calibrate
from nas.ranking.correlation import kendall_tau
from nas.ranking.trained_designs import TrainedDesign
from nas.search.pareto import front

#: The way whose scores are calibrated, and what is an epoch of training alone, without a supernet.
CALIBRATED, ALONE = "default", "one epoch from random weights"
#: By how many designs, each trained once, drawn how often.
BY_DESIGNS, DRAWS = (16, 24, 40), 20
#: Seeds of trainings that are compared with others, by their means, where enough designs have them all.
CEILINGS = (((0,), (1,)), ((0,), (1, 2)), ((0, 1), (2, 3)))
#: Sizes that order designs, and what they are called.
SIZES = {"macs": "MACs", "params": "parameters"}
#: Scores of a design: in percent, and the loss with its sign turned, so that more is better.
Scores = Mapping[str, tuple[float, float]]


def to_table(rows: Sequence[Mapping[str, Any]], designs: Sequence[TrainedDesign]) -> list[str]:
    """Return a Markdown table: mean ± standard deviation over the seeds of each way, then sizes and seeds.

    Args:
        rows: Ways with the scores that their supernets give designs.
        designs: The designs trained alone; scores are judged anew, so that a larger table needs no new supernets.
    """
    lines = [
        "| order by | seeds | epochs | core seconds | tau by top-1 | tau by loss | mean tau within quartiles | "
        "regret@10 | top-1 | below alone on the front |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_way: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_way.setdefault(row["way"], []).append(row)
    for name, own in by_way.items():
        lines += way_rows(name, own, designs)
    both = (by_way.get(CALIBRATED, []), by_way.get(ALONE, []))
    if all(both):
        lines += combined_rows(*both, designs)
    nothing = [{each.architecture.digest: 0.0 for each in designs}]
    lines += calibrated_rows("no supernet", nothing, designs)
    for title in ("macs", "params"):
        sizes = {each.architecture.digest: float(getattr(each, title)) for each in designs}
        lines.append(f"| {SIZES[title]} | | | | | {order_cells([sizes], designs)} | | |")
    return [*lines, *ceiling_rows(designs)]


def way_rows(name: str, own: Sequence[Mapping[str, Any]], designs: Sequence[TrainedDesign]) -> list[str]:
    """Return the rows of one way: of its scores, of other ways to score with it, and of what is derived of them."""
    lines, epochs = [], own[0]["epochs"] or ""
    for key, suffix, cost in (("scores", "", "seconds"), ("trained_on", ", + 1 epoch each", "seconds_on")):
        if key in own[0]:
            seconds = format_spread([row[cost] for row in own], 0 if key == "scores" else 1)
            each = " a design" if key == "trained_on" else ""
            title = name if name == ALONE else f"{name}{suffix}"
            cells = to_cells([row[key] for row in own], designs)
            lines.append(f"| {title} | {len(own)} | {epochs} | {seconds}{each} | {cells} |")
    for title in own[0].get("scored", ()):
        cells = to_cells([row["scored"][title] for row in own], designs)
        lines.append(f"| {CALIBRATED}, {title} | {len(own)} | {epochs} | | {cells} |")
    if "worths" in own[0]:
        worths = order_cells([row["worths"] for row in own], designs)
        lines.append(
            f"| worth of weights before training | {len(own)} | | | | {worths} | | |"
        )
    if name == CALIBRATED:
        lines += calibrated_rows(name, [losses(row["scores"]) for row in own], designs, str(epochs))
    return lines


def combined_rows(
    supernets: Sequence[Mapping[str, Any]],
    alone: Sequence[Mapping[str, Any]],
    designs: Sequence[TrainedDesign],
) -> list[str]:
    """Return rows of the mean of two scores, each of them standardised: of a supernet and of an epoch alone."""
    title = f"mean of {CALIBRATED} and {ALONE}"
    scores = [
        mean_of_standardised(losses(one["scores"]), losses(other["trained_on"]))
        for one, other in zip(supernets, alone, strict=False)
    ]
    seconds = fmean(row["seconds"] for row in supernets), fmean(row["seconds_on"] for row in alone)
    cost = f"{seconds[0]:.0f}, and {seconds[1]:.1f} a design"
    return [
        f"| {title} | {len(scores)} | | {cost} | | {order_cells(scores, designs)} | | |",
        *calibrated_rows("that mean", scores, designs),
    ]


def losses(scores: Scores) -> dict[str, float]:
    """Return the losses, with their signs turned, of scores by digest."""
    return {digest: both[1] for digest, both in scores.items()}


def mean_of_standardised(*scores: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of scores of mean 0 and variance 1 by digest; each scores the same designs."""
    means = [fmean(each.values()) for each in scores]
    spreads = [pstdev(each.values()) for each in scores]
    return {
        digest: fmean(
            (each[digest] - mean) / spread for each, mean, spread in zip(scores, means, spreads, strict=True)
        )
        for digest in scores[0]
    }


def calibrated_rows(
    name: str, scores: Sequence[Mapping[str, float]], designs: Sequence[TrainedDesign], epochs: str = ""
) -> list[str]:
    """Return rows of scores that some designs, each trained once, have calibrated, judged on the others.

    The deviation is over seeds and over which designs were drawn.

    Args:
        name: What scored.
        scores: One mapping a seed, by digest.
        designs: The designs trained alone.
        epochs: Of the supernets, as the table shows them.
    """
    lines = []
    for count in (count for count in BY_DESIGNS if count < len(designs)):
        judged = list[tuple[float, float, float]]()
        for seed, own in enumerate(scores):
            for draw in range(DRAWS):
                drawn = {
                    each.architecture.digest: replace(each, runs=each.runs[:1])
                    for each in Random(f"{seed}-{draw}").sample(list(designs), count)
                }
                rest = [each for each in designs if each.architecture.digest not in drawn]
                predicted = calibrate(own, [each.architecture for each in rest], list(drawn.values()))
                judged.append(judge_order(rest, predicted))
        cells = " | ".join(map(format_spread, zip(*judged, strict=True), (2, 2, 1)))
        lines.append(
            f"| {name}, calibrated by {count} trainings | {len(scores)} | {epochs} | | | {cells} | | |"
        )
    return lines


def ceiling_rows(designs: Sequence[TrainedDesign]) -> list[str]:
    """Return rows of trainings against other trainings of the same designs: what noise leaves of any order."""
    by_seed = {each.architecture.digest: {run.seed: run for run in each.runs} for each in designs}
    lines = []
    for ours, theirs in CEILINGS:
        known = [each for each in designs if {*ours, *theirs} <= by_seed[each.architecture.digest].keys()]
        # Fewer designs say nothing of quartiles.
        if len(known) < 4 * LEAST_DESIGNS:
            continue
        runs = {each.architecture.digest: by_seed[each.architecture.digest] for each in known}
        truth = [replace(d, runs=tuple(runs[d.architecture.digest][seed] for seed in theirs)) for d in known]
        scores = {digest: fmean(own[seed].val_top1 for seed in ours) for digest, own in runs.items()}
        title = f"{_seeds(ours)} against {_seeds(theirs)}, {len(known)} designs"
        lines.append(f"| {title} | | | | | {order_cells([scores], truth)} | | |")
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of seeds {', '.join(map(str, seeds))}"


def judge_order(designs: Sequence[TrainedDesign], scores: Mapping[str, float]) -> tuple[float, float, float]:
    """Return Kendall's tau, 0 where it is undefined, its mean within quartiles of MACs, and regret@10."""
    rows = sorted((each.macs, scores[each.architecture.digest], each.val_top1) for each in designs)
    edges = [round(quarter * len(rows) / 4) for quarter in range(5)]
    parts = [rows[low:high] for low, high in pairwise(edges)]
    taus = [kendall_tau([row[1] for row in part], [row[2] for row in part]) for part in (rows, *parts)]
    defined = [0.0 if math.isnan(tau) else tau for tau in taus]
    regret = regret_at(10, [row[1] for row in rows], [row[2] for row in rows])
    return defined[0], fmean(defined[1:]), regret


def order_cells(found: Sequence[Mapping[str, float]], designs: Sequence[TrainedDesign]) -> str:
    """Return the cells on how scores of several seeds order designs: tau, within quartiles, regret."""
    judged = [judge_order(designs, scores) for scores in found]
    return " | ".join(map(format_spread, zip(*judged, strict=True), (2, 2, 1)))


def to_cells(found: Sequence[Scores], designs: Sequence[TrainedDesign]) -> str:
    """Return all cells of a row of scores by accuracy and by loss, those of several seeds."""
    top1s = [{digest: both[0] for digest, both in scores.items()} for scores in found]
    by_top1 = format_spread([judge_order(designs, each)[0] for each in top1s], 2)
    by_loss = order_cells([losses(scores) for scores in found], designs)
    top1 = format_spread([fmean(each.values()) for each in top1s], 1)
    gap = format_spread([below_alone(each, designs) for each in top1s], 1)
    return f"{by_top1} | {by_loss} | {top1} | {gap}"


def below_alone(top1s: Mapping[str, float], designs: Sequence[TrainedDesign]) -> float:
    """Return the points that accuracies lie below those alone, on average over the front of the latter and MACs."""
    points = [(each.val_top1, float(each.macs)) for each in designs]
    best = [designs[index] for index in front(points, ("maximize", "minimize"))]
    return fmean(each.val_top1 - top1s[each.architecture.digest] for each in best)


def format_spread(values: Sequence[float], digits: int) -> str:
    """Return ``mean ± standard deviation``; no deviation of a single value."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"
