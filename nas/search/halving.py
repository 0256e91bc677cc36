"""Which designs are trained alone after a search, and which of them go on: successive halving.

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization" (arXiv
1502.07943); Li et al. 2018 (arXiv 1810.05934) run it side by side. Here a training is only ever paused: each design has
the schedule of its whole length, so that one that goes on is the training that was never paused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nas.search.loop import pareto_records
from nas.search.nsga2 import Individual, select_parents
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord
from search_spaces.named_designs import is_plain

#: Candidates of each design that is trained to the end, where nobody says how many.
CANDIDATES_EACH = 4
#: Shares of all epochs after which designs fall out.
_SHARES = (0.25, 0.5)
_Ranked = TypeVar("_Ranked")


@dataclass(frozen=True)
class Rung:
    """A pause of all trainings.

    Args:
        epochs: Epochs that each has done by then.
        keep: Designs that go on.
    """

    epochs: int
    keep: int


@dataclass(frozen=True)
class Spread:
    """A design that was chosen to be trained alone.

    Args:
        trial: Its trial.
        why: Why it is among the candidates.
        on_front: Whether it is on the front by the supernet's weights.
        merit: What it was preferred to others by: more is better.
    """

    trial: TrialRecord
    why: str
    on_front: bool = False
    merit: float = 0.0

    @property
    def digest(self) -> str:
        """Digest of the design."""
        return self.trial.architecture.digest


def plan_rungs(candidates: int, keep: int, epochs: int) -> list[Rung]:
    """Return the pauses in which ``candidates`` become ``keep``: half of them go on at a quarter, ``keep`` at half.

    There are none where nothing is to be left out, and fewer where a training has too few epochs to be paused twice.
    """
    if candidates <= keep:
        return []
    ends = sorted({math.ceil(share * epochs) for share in _SHARES} - {epochs})
    if not ends:
        return []
    halves = [max(keep, math.ceil(candidates / 2**number)) for number in range(1, len(ends))]
    rungs = [Rung(end, left) for end, left in zip(ends, [*halves, keep], strict=True)]
    return [
        rung
        for rung, before in zip(rungs, [candidates, *(each.keep for each in rungs)], strict=False)
        if rung.keep < before
    ]


def cost_of(goal: Goal) -> str:
    """Return the score that candidates are spread over: the goal's first objective that is a cost, else MACs."""
    return next(iter(goal.costs), "macs")


def choose_spread(
    trials: Sequence[TrialRecord], goal: Goal, count: int, merits: Mapping[str, float] | None = None
) -> list[Spread]:
    """Return ``count`` evaluated designs to be trained alone, the costliest first; all where they are no more.

    The supernet's scores are not trusted with the choice among costs, only among designs of a like cost:

    1. the best of the front by the supernet's weights;
    2. the best start that no paper proposed: the space's smallest or largest, or one operator throughout;
    3. the cheapest design of all;
    4. the best of each of as many strata as are left to choose, of equally many of the other designs by cost.

    Where the goal names no cost, what is cheap is worth nothing by itself: the third is left out, and the last are the
    best of all others by turns of operators. For a search exploits what the supernet is wrong about: its best designs
    are alike, and share an operator that shared weights flatter.

    Args:
        trials: Trials of a search that compares accuracies or losses.
        goal: Its objectives.
        count: Designs to choose.
        merits: By digest how good designs are, where that is known better than by the goal; more is better.
    """
    cost, measured = cost_of(goal), [trial for trial in trials if trial.eligible]
    front = pareto_records(measured, goal)
    on_front = {trial.architecture.digest for trial in front}

    def merit(trial: TrialRecord) -> tuple[float, float]:
        own = goal.merit(trial.scores) if merits is None else merits[trial.architecture.digest]
        return own, -trial.scores[cost]

    plain = [trial for trial in measured if is_plain(trial.origin)]
    has_cost = bool(goal.costs)
    first = [("front's best", front, merit), ("best plain start", plain, merit)]
    if has_cost:
        first.append(("cheapest", measured, lambda trial: (-trial.scores[cost], merit(trial)[0])))
    chosen: dict[str, Spread] = {}
    for why, among, key in first[:count]:
        if among:
            best = max(among, key=key)
            digest = best.architecture.digest
            chosen.setdefault(digest, Spread(best, why, digest in on_front, merit(best)[0]))
    others = sorted(
        (trial for trial in measured if trial.architecture.digest not in chosen),
        key=lambda trial: (trial.scores[cost], trial.architecture.digest),
    )
    strata = min(count - len(chosen), len(others))
    if not has_cost:
        ranked = sorted(others, key=merit, reverse=True)
        for best in take_turns(ranked, main_operators)[:strata]:
            digest, why = best.architecture.digest, f"best of {' then '.join(main_operators(best))}"
            chosen[digest] = Spread(best, why, digest in on_front, merit(best)[0])
        strata = 0
    for number in range(strata):
        low, high = (round(end * len(others) / strata) for end in (number, number + 1))
        best = max(others[low:high], key=merit)
        why = f"stratum {number + 1} of {strata}"
        digest = best.architecture.digest
        chosen[digest] = Spread(best, why, digest in on_front, merit(best)[0])
    return sorted(chosen.values(), key=lambda each: -each.trial.scores[cost])


def main_operators(trial: TrialRecord) -> tuple[str, ...]:
    """Return of each stage the operator that most of its blocks have, the first of several."""
    operators = ([block.operator for block in stage.blocks] for stage in trial.architecture.stages)
    return tuple(max(of_stage, key=of_stage.count) for of_stage in operators)


def take_turns(ranked: Sequence[_Ranked], kind: Callable[[_Ranked], Hashable]) -> list[_Ranked]:
    """Return the first of each kind in their order, then the second of each, and so on."""
    seen = Counter[Hashable]()
    turns = []
    for place, trial in enumerate(ranked):
        turns.append((seen[kind(trial)], place))
        seen[kind(trial)] += 1
    return [ranked[place] for _, place in sorted(turns)]


def select_survivors(
    accuracies: Mapping[str, float], costs: Mapping[str, float] | None, keep: int
) -> list[str]:
    """Return the digests of the designs that go on, the most accurate first.

    The most accurate one always does. The others are taken front by front, and of the last front those that are least
    crowded, as NSGA-II does: so a front survives over the whole range of costs, not the largest alone.

    Args:
        accuracies: Validation accuracies by digest, all after equally many epochs.
        costs: What each costs; None where accuracy alone counts.
        keep: How many.
    """
    ranked = sorted(
        accuracies, key=lambda digest: (-accuracies[digest], (costs or {}).get(digest, 0.0), digest)
    )
    if costs is None or keep <= 1:
        return ranked[:keep]
    population = [
        Individual(number, {}, (accuracies[digest], costs[digest])) for number, digest in enumerate(ranked)
    ]
    kept = {one.number for one in select_parents(population, keep, ("maximize", "minimize"))}
    return [digest for number, digest in enumerate(ranked) if number in kept]
