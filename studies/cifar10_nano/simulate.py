"""What would make the search's choice better, tried on designs whose trainings are known: nothing is trained here.

A search is simulated on half of the attention table's designs, drawn anew each time, under a limit on MACs. A supernet of
the study supernet_ranking has scored them; a rule chooses candidates; their trainings are in the table, epoch by epoch,
and successive halving leaves one. It counts as the mean of its *other* trainings, so that luck in the choice is no gain.
Searches without rules stand beside: random candidates near the limit, and all designs near it trained to the end::

    python studies/cifar10_nano/simulate.py
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random
from statistics import fmean, stdev

HERE = Path(__file__).parent
RANKING, TABLE = HERE.parent / "supernet_ranking", HERE.parent / "attention_table" / "table.json"
sys.path.insert(0, str(RANKING))

from order_rows import ALONE, CALIBRATED, losses, mean_of_standardised  # noqa: E402

from nas.ranking.calibration import calibrate  # noqa: E402
from nas.ranking.trained_designs import TrainedDesign, TrainingTable  # noqa: E402
from nas.search.halving import plan_rungs, take_turns  # noqa: E402

#: Limits on MACs, in millions; a design is near one from this share of it on.
LIMITS, NEAR = (0.6, 0.9, 1.2, 1.6, 2.2), 0.6
#: Candidates of the present rule, and those of them that are trained to the end.
CANDIDATES, KEPT = 12, 3
#: Seeds whose trainings choose; every design has both.
SEEDS = (0, 1)


@dataclass(frozen=True)
class Case:
    """One search to simulate.

    Args:
        designs: Those under the limit.
        limit: It, in MACs.
        scores: What a supernet says of each design of the table, by digest; more is better.
        epoch: What an epoch of training alone says, likewise.
        seed: Whose trainings choose.
        rng: What draws.
        others: Designs of the table that may be trained to correct scores.
    """

    designs: Sequence[TrainedDesign]
    limit: float
    scores: Mapping[str, float]
    epoch: Mapping[str, float]
    seed: int
    rng: Random
    others: Sequence[TrainedDesign]

    @property
    def near(self) -> list[TrainedDesign]:
        """The designs near the limit."""
        return [each for each in self.designs if each.macs >= NEAR * self.limit]

    def rank(self, scores: Mapping[str, float], among: Sequence[TrainedDesign] | None = None) -> list[TrainedDesign]:
        """Return designs, all where none are given, best first."""
        chosen = self.designs if among is None else among
        return sorted(chosen, key=lambda each: -scores[each.architecture.digest])

    def correct(self, scores: Mapping[str, float], count: int) -> dict[str, float]:
        """Return scores that the choosing trainings of ``count`` random designs have corrected."""
        known = [
            replace(each, runs=tuple(run for run in each.runs if run.seed == self.seed))
            for each in self.rng.sample(list(self.others), count)
        ]
        return calibrate(scores, [each.architecture for each in self.designs], known)

    def top1(self, design: TrainedDesign, epochs: int | None = None) -> float:
        """Return the accuracy of the training that chooses, after so many epochs or all."""
        (run,) = (run for run in design.runs if run.seed == self.seed)
        return run.val_top1 if epochs is None else run.val_curve[epochs - 1]

    def halve(self, candidates: Sequence[TrainedDesign], keep: int = KEPT) -> TrainedDesign:
        """Return the best of those that successive halving trains to the end."""
        left = list(candidates)
        for rung in plan_rungs(len(left), keep, len(left[0].runs[0].val_curve)):
            left = sorted(left, key=lambda each: -self.top1(each, rung.epochs))[: rung.keep]
        return max(left, key=self.top1)

    def worth(self, design: TrainedDesign) -> float:
        """Return the mean accuracy of the trainings that did not choose."""
        return fmean(run.val_top1 for run in design.runs if run.seed != self.seed)


def main_operators(design: TrainedDesign) -> tuple[str, ...]:
    """Return of each stage the operator that most of its blocks have, as the search's turns do."""
    operators = ([block.operator for block in stage.blocks] for stage in design.architecture.stages)
    return tuple(max(of_stage, key=of_stage.count) for of_stage in operators)


def by_turns(case: Case, count: int = CANDIDATES, keep: int = KEPT) -> TrainedDesign:
    """Choose candidates by turns of operators."""
    return case.halve(take_turns(case.rank(case.scores), main_operators)[:count], keep)


def by_corrected_turns(case: Case, count: int) -> TrainedDesign:
    """Choose by turns of operators, by scores that some trainings correct."""
    ranked = case.rank(case.correct(case.scores, count))
    return case.halve(take_turns(ranked, main_operators)[:CANDIDATES])


def by_mean(case: Case) -> TrainedDesign:
    """Choose by the mean of the supernet's score and that of an epoch alone."""
    return case.halve(case.rank(mean_of_standardised(case.scores, case.epoch))[:CANDIDATES])


PRESENT = "12 candidates by turns of operators, 3 kept (present)"
RULES: dict[str, Callable[[Case], TrainedDesign]] = {
    PRESENT: by_turns,
    "24 candidates": lambda case: by_turns(case, 24),
    "6 kept": lambda case: by_turns(case, keep=6),
    "the best 12, no turns": lambda case: case.halve(case.rank(case.scores)[:CANDIDATES]),
    "the best 12 near the limit": lambda case: case.halve(case.rank(case.scores, case.near)[:CANDIDATES]),
    "scores corrected by 24 trainings": lambda case: by_corrected_turns(case, 24),
    "scores corrected by 40 trainings": lambda case: by_corrected_turns(case, 40),
    "the best 12, corrected by 24": lambda case: case.halve(case.rank(case.correct(case.scores, 24))[:CANDIDATES]),
    "the best 12 of the mean with an epoch alone": by_mean,
    "12 random ones near the limit": lambda case: case.halve(case.rng.sample(case.near, min(CANDIDATES, len(case.near)))),
    "all near the limit, trained to the end": lambda case: max(case.near, key=case.top1),
}


def simulate(
    designs: Sequence[TrainedDesign], scored: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], halves: int
) -> dict[str, list[list[float]]]:
    """Return by rule, for each half of the table, what is found under each limit on average over supernets and seeds.

    Args:
        designs: Those of the table, with trainings of all ``SEEDS``.
        scored: Of each supernet's seed the scores by digest, and those of an epoch alone.
        halves: Draws of half of the designs.
    """
    found: dict[str, list[list[float]]] = {rule: [] for rule in RULES}
    for half in range(halves):
        drawn = Random(f"half-{half}").sample(list(designs), len(designs) // 2)
        for rule, choose in RULES.items():
            row = []
            for limit in LIMITS:
                under = [each for each in drawn if each.macs <= limit * 1e6]
                cases = (
                    Case(under, limit * 1e6, *scores, seed, Random(f"{half}-{limit}-{number}-{seed}"), designs)
                    for (number, scores), seed in product(enumerate(scored), SEEDS)
                )
                row.append(fmean(case.worth(choose(case)) for case in cases))
            found[rule].append(row)
    return found


def to_table(found: Mapping[str, Sequence[Sequence[float]]]) -> Iterator[str]:
    """Yield a Markdown table: what each rule finds under each limit, and against the present rule, paired by half."""
    yield "| candidates | " + " | ".join(f"{limit:g}M" for limit in LIMITS) + " | mean | against the present | better |"
    yield "|---" * (len(LIMITS) + 4) + "|"
    for rule, halves in found.items():
        cells = [f"{fmean(column):.1f}" for column in zip(*halves, strict=True)]
        gains = [fmean(row) - fmean(before) for row, before in zip(halves, found[PRESENT], strict=True)]
        against = "– | –"
        if rule != PRESENT:
            against = f"{fmean(gains):+.1f} ± {stdev(gains):.1f} | {sum(gain > 0 for gain in gains)} of {len(gains)}"
        yield f"| {rule} | {' | '.join(cells)} | {fmean(map(fmean, halves)):.1f} | {against} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--halves", type=int, default=12, help="draws of half of the designs")
    options = parser.parse_args(arguments)
    table = TrainingTable(TABLE)
    designs = [
        each for each in table.trained(int(table.about["epochs"])) if {run.seed for run in each.runs} >= set(SEEDS)
    ]
    rows = json.loads((RANKING / "results.json").read_text(encoding="utf-8"))["rows"]
    scored = [
        (losses(one["scores"]), losses(other["trained_on"]))
        for one, other in product(rows, rows)
        if (one["way"], other["way"]) == (CALIBRATED, ALONE) and one["seed"] == other["seed"]
    ]
    print(*to_table(simulate(designs, scored, options.halves)), sep="\n")


if __name__ == "__main__":
    main()
