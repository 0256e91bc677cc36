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

from nas.ranking.agreement import LEAST_DESIGNS, Agreement, judge, noise_ceiling, size_baselines
from nas.ranking.trained_designs import TrainedDesign, TrainingTable

TABLE = Path(__file__).parent / "table.json"
#: Parts of the range of MACs, equal on a logarithmic scale.
BINS = 5


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
    print(*order_rows([*size_baselines(designs), *noise_ceiling(designs)]), sep="\n", end="\n\n")
    print(*order_rows(compare_lengths(table)), sep="\n", end="\n\n")
    print(*best_by_cost(designs), sep="\n", end="\n\n")
    print(*one_operator_rows(designs), sep="\n")


def describe_noise(designs: Sequence[TrainedDesign]) -> Iterator[str]:
    """Yield how far the seeds of a design are apart, and how far designs are."""
    repeated = [each for each in designs if len(each.runs) > 1]
    yield "| | points of validation top-1 |"
    yield "|---|---|"
    if repeated:
        noise = math.sqrt(fmean(stdev(run.val_top1 for run in each.runs) ** 2 for each in repeated))
        yield f"| standard deviation over seeds of a design ({len(repeated)} designs) | {noise:.2f} |"
    accuracies = [each.val_top1 for each in designs]
    yield f"| standard deviation over designs | {stdev(accuracies):.2f} |"
    yield f"| worst and best design | {min(accuracies):.1f} to {max(accuracies):.1f} |"


def order_rows(agreements: Sequence[Agreement]) -> Iterator[str]:
    """Yield a table of orders."""
    yield "| order by | designs | Kendall tau | in quartiles of MACs | regret@5 |"
    yield "|---|---|---|---|---|"
    for each in agreements:
        quarters = ", ".join("–" if q.value is None else f"{q.value:.2f}" for q in each.tau_by_quartile)
        regret = f"{each.regret[5]:.1f}" if 5 in each.regret else "–"
        yield f"| {each.predictor} | {each.designs} | {each.tau} | {quarters} | {regret} |"


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
    yield "| design | MACs | validation top-1 | seeds |"
    yield "|---|---|---|---|"
    for each in sorted(designs, key=lambda each: each.macs):
        if not each.origin.endswith("MACs"):
            yield f"| {each.origin} | {each.macs / 1e6:.2f}M | {each.val_top1:.1f} | {len(each.runs)} |"


if __name__ == "__main__":
    main()
