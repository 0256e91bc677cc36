"""What the attention table says: its designs, the noise of their accuracies, and which of them are good at which cost.

As a script it prints the tables of NOTES.md; in other code::

    from query import load_designs

    designs = load_designs()          # TrainedDesign: .architecture, .macs, .params, .val_top1, .runs
    best = max((d for d in designs if d.macs < 1e6), key=lambda d: d.val_top1)
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from nas.insight.effects import cost_columns, find_effects, fit_by_designs
from nas.insight.importance import find_importances
from nas.ranking.agreement import LEAST_DESIGNS, Agreement, Estimate, judge, noise_ceiling, size_baselines
from nas.ranking.trained_designs import TrainedDesign, TrainingTable
from search_spaces.block import Block

TABLE = Path(__file__).parent / "table.json"
#: Parts of the range of MACs, equal on a logarithmic scale.
BINS = 5
#: Millions of MACs at which the worth of attention is shown, within the table's range.
AT_MACS = (0.25, 0.5, 1.0, 2.0)
#: By origin: a design of static convolution throughout, and designs of attention throughout of nearly its MACs.
SAME_COST = (
    ("smallest", "lsa only, smallest", "gsa only, smallest", "cswin only, smallest"),
    ("dwnet-like", "cswin-like", "swin-like"),
)


def load_designs(
    file: Path = TABLE, epochs: int | None = None, seeds: Sequence[int] | None = None
) -> list[TrainedDesign]:
    """Return the designs with their trainings.

    Args:
        file: The table.
        epochs: Length of the trainings; None for the one that counts.
        seeds: Seeds that count, of which a design has all; None for those that each has.
    """
    table = TrainingTable(file)
    return table.trained(int(table.about["epochs"]) if epochs is None else epochs, seeds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the table says, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE, help="the table")
    table = TrainingTable(parser.parse_args(arguments).table)
    counted = int(table.about["epochs"])
    designs = table.trained(counted)
    print(f"{len(designs)} designs, {len(table.runs)} trainings; {counted} epochs count\n")
    print(*describe_noise(designs), sep="\n", end="\n\n")
    print(*order_rows([*size_baselines(designs), *latency_baseline(designs), *noise_ceiling(designs)]), sep="\n", end="\n\n")
    print(*order_rows(compare_lengths(table)), sep="\n", end="\n\n")
    print(*best_by_cost(designs), sep="\n", end="\n\n")
    print(*one_operator_rows(designs), sep="\n", end="\n\n")
    print(*effect_rows(designs), sep="\n", end="\n\n")
    print(*importance_rows(designs), sep="\n", end="\n\n")
    print(*attention_by_cost(designs), sep="\n", end="\n\n")
    print(*attention_by_length(table), sep="\n")


def describe_noise(designs: Sequence[TrainedDesign]) -> Iterator[str]:
    """Yield how far the seeds of a design are apart, and how far designs are."""
    repeated = [each for each in designs if len(each.runs) > 1]
    yield "| | points of validation top-1 |"
    yield "|---|---|"
    if repeated:
        noise = seed_deviation(repeated)
        yield f"| standard deviation over seeds of a design ({len(repeated)} designs) | {noise:.2f} |"
    accuracies = [each.val_top1 for each in designs]
    yield f"| standard deviation over designs | {stdev(accuracies):.2f} |"
    yield f"| worst and best design | {min(accuracies):.1f} to {max(accuracies):.1f} |"


def seed_deviation(designs: Sequence[TrainedDesign]) -> float:
    """Return the standard deviation over seeds of a design, from those that have several."""
    repeated = [each for each in designs if len(each.runs) > 1]
    return math.sqrt(fmean(stdev(run.val_top1 for run in each.runs) ** 2 for each in repeated))


def order_rows(agreements: Sequence[Agreement]) -> Iterator[str]:
    """Yield a table of orders."""
    yield "| order by | designs | Kendall tau | in quartiles of MACs | regret@5 |"
    yield "|---|---|---|---|---|"
    for each in agreements:
        quarters = ", ".join("–" if q.value is None else f"{q.value:.2f}" for q in each.tau_by_quartile)
        regret = f"{each.regret[5]:.1f}" if 5 in each.regret else "–"
        yield f"| {each.predictor} | {each.designs} | {each.tau} | {quarters} | {regret} |"


def latency_baseline(designs: Sequence[TrainedDesign]) -> list[Agreement]:
    """Return how well latency orders the designs, more being taken for better."""
    measured = [each for each in designs if each.latency_ms is not None]
    if len(measured) < LEAST_DESIGNS:
        return []
    latencies = {each.architecture.digest: each.latency_ms or 0.0 for each in measured}
    return [judge("latency", measured, latencies)]


def compare_lengths(table: TrainingTable) -> list[Agreement]:
    """Return how well shorter trainings, and MACs, order the designs as longer ones do, one seed each."""
    lengths = sorted({run.epochs for run in table.runs.values()})
    agreements = []
    for shorter, longer in combinations(lengths, 2):
        before = {each.architecture.digest: each.val_top1 for each in table.trained(shorter, [0])}
        both = [each for each in table.trained(longer, [0]) if each.architecture.digest in before]
        if len(both) >= LEAST_DESIGNS:
            macs = {each.architecture.digest: float(each.macs) for each in both}
            agreements += [
                judge(f"{shorter} epochs, against {longer}", both, before),
                judge(f"MACs, against {longer} epochs", both, macs),
            ]
    return agreements


def best_by_cost(designs: Sequence[TrainedDesign]) -> Iterator[str]:
    """Yield the mean and the best design of each part of the MACs."""
    least, most = min(each.macs for each in designs), max(each.macs for each in designs)
    parts: dict[int, list[TrainedDesign]] = defaultdict(list)
    for each in designs:
        place = math.log(each.macs / least) / math.log(most / least)
        parts[min(BINS - 1, int(place * BINS))].append(each)
    yield "| MACs | designs | mean | best | which |"
    yield "|---|---|---|---|---|"
    for number in sorted(parts):
        low, high = (least * (most / least) ** ((number + end) / BINS) / 1e6 for end in (0, 1))
        best = max(parts[number], key=lambda each: each.val_top1)
        mean = fmean(each.val_top1 for each in parts[number])
        yield (
            f"| {low:.2f}-{high:.2f}M | {len(parts[number])} | {mean:.1f} | {best.val_top1:.1f} | "
            f"{best.origin}: `{str(best.architecture).replace('|', '/')}` |"
        )


def one_operator_rows(designs: Sequence[TrainedDesign]) -> Iterator[str]:
    """Yield the designs that were chosen by name, cheapest first."""
    yield "| design | MACs | latency, ms | validation top-1 | seeds |"
    yield "|---|---|---|---|---|"
    for each in sorted(designs, key=lambda each: each.macs):
        if not each.origin.endswith("MACs"):
            latency = "–" if each.latency_ms is None else f"{each.latency_ms:.2f}"
            yield f"| {each.origin} | {each.macs / 1e6:.2f}M | {latency} | {each.val_top1:.1f} | {len(each.runs)} |"


def effect_rows(designs: Sequence[TrainedDesign]) -> Iterator[str]:
    """Yield what every choice is worth at equal MACs."""
    yield "| choice | value, against | designs | points at equal MACs | clear |"
    yield "|---|---|---|---|---|"
    for each in find_effects((design.architecture, design.val_top1) for design in designs):
        where = f"{each.choice.place}, {each.choice.subject}"
        yield (
            f"| {where} | {each.value}, {each.reference} | {each.designs} | {format_points(each.points)} | "
            f"{'yes' if each.clear else ''} |"
        )


def importance_rows(designs: Sequence[TrainedDesign], least: float = 0.02) -> Iterator[str]:
    """Yield the choices that explain most of the variance at equal MACs."""
    yield "| choice | share of the explained variance at equal MACs |"
    yield "|---|---|"
    for each in find_importances((design.architecture, design.val_top1) for design in designs):
        if each.share >= least:
            yield f"| {each.choice.place}, {each.choice.subject} | {each.share:.2f} |"


def kind_of(block: Block) -> str:
    """Return what a block is, for the question of attention against convolution."""
    if block.operator == "dwconv":
        return "convolution" if block.knob("dynamic") == "none" else "dynamic"
    return "refiner" if block.operator == "refiner" else "attention"


def kind_columns(designs: Sequence[TrainedDesign], kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the share of blocks of a kind in each stage ``(designs, stages)``."""
    return np.array(
        [
            [fmean(kind_of(block) == kind for block in stage.blocks) for stage in each.architecture.stages]
            for each in designs
        ]
    )


def attention_by_cost(designs: Sequence[TrainedDesign], at: Sequence[float] = AT_MACS) -> Iterator[str]:
    """Yield what attention is worth against static convolution, by stage, as a line over the logarithm of the MACs."""
    logarithms = np.log([each.macs / 1e6 for each in designs])[:, None]
    attention, refiner = (kind_columns(designs, kind) for kind in ("attention", "refiner"))
    varying = np.column_stack([attention, refiner[:, -1:]])  # the first stage offers no refiner
    columns = [varying, varying * logarithms, kind_columns(designs, "dynamic")]
    matrix = np.column_stack([cost_columns([each.macs for each in designs]), *columns])
    fit = fit_by_designs(matrix, np.array([each.val_top1 for each in designs]))
    yield "| against static convolution, points | " + " | ".join(f"at {macs:g}M MACs" for macs in at) + " |"
    yield "|---" * (len(at) + 1) + "|"
    for number, name in enumerate(("stage 1, attention", "stage 2, attention", "stage 2, refiner")):
        cells = []
        for macs in at:
            weights = np.zeros(matrix.shape[1])
            weights[3 + number], weights[6 + number] = 1, math.log(macs)
            cells.append(format_points(fit.estimate(weights)))
        yield f"| {name} | {' | '.join(cells)} |"


def attention_by_length(table: TrainingTable) -> Iterator[str]:
    """Yield how far static convolution throughout leads attention throughout of about its MACs, by length of training.

    One seed each; the error is that of the difference, from the deviation over seeds at the length that counts.
    """
    noise = seed_deviation(table.trained(int(table.about["epochs"])))
    lengths = sorted({run.epochs for run in table.runs.values()})
    by_origin = {epochs: {each.origin: each for each in table.trained(epochs, [0])} for epochs in lengths}
    yield "| points, one seed | " + " | ".join(f"{epochs} epochs" for epochs in lengths) + " |"
    yield "|---" * (len(lengths) + 1) + "|"
    for name, *others in SAME_COST:
        error = noise * math.sqrt(1 + 1 / len(others))
        cells = [
            f"{found[name].val_top1 - fmean(found[other].val_top1 for other in others):+.1f} ± {error:.1f}"
            for found in by_origin.values()
        ]
        designs = [by_origin[lengths[0]][each] for each in (name, *others)]
        sizes = [f"{each.origin} ({each.macs / 1e6:.2f}M)" for each in designs]
        yield f"| {sizes[0]} less the mean of {', '.join(sizes[1:])} | {' | '.join(cells)} |"


def format_points(points: Estimate) -> str:
    """Return a difference with its sign and interval."""
    return f"{points.value:+.1f} ({points.low:+.1f} to {points.high:+.1f})"


if __name__ == "__main__":
    main()
