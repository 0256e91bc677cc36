"""What a search costs beside its evaluations, which a table look-up replaces here."""

from __future__ import annotations

import hashlib
import itertools
import math
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial

from nas.bench.measurement import Measurement, Target
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.search.evaluations import MoreDesigns
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.proposers import Proposer
from nas.search.storage import open_storage
from nas.search.storage_url import sqlite_url
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.space import Space

EVALUATION_SECONDS = 0.3  # what evaluating a small design takes on two cores
_MARKS = (100, 1_000, 2_000, 10_000)
_JUDGED = 2_000  # trials that the target is for
_POPULATION = 32
_PLAIN_TRIALS = 50  # of plain Optuna, which needs a third of a second each
_TUNE_TRIALS = 8


def looked_up(architecture: Architecture) -> float:
    """Return a made-up accuracy in percent, the same for equal designs.

    It rises with the design's size, every block of a stage adds its own part, and a little is chance. Were all
    of it chance, the Pareto front would be a few lucky designs, which NSGA-II proposes again and again.
    """
    blocks = [
        f"{number} {block}" for number, stage in enumerate(architecture.stages) for block in stage.blocks
    ]
    parts = sum(map(_chance, blocks)) / math.sqrt(len(blocks))
    return (
        9 * math.log10(analytic_costs(architecture)["macs"]) + 2 * parts + _chance(architecture.digest) - 20
    )


def _chance(text: str) -> float:
    """Return a number in -0.5..0.5 that ``text`` decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32 - 0.5


class PhaseTimer:
    """Adds up what functions take, by name, and counts their calls."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.core: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with clocks on it."""

        def run(*given: Any, **named: Any) -> Any:
            wall, core = time.perf_counter(), time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.wall[name] += time.perf_counter() - wall
                self.core[name] += time.thread_time() - core
                self.calls[name] += 1

        return run

    def add_to(self, target: object, **phases: str) -> None:
        """Put clocks on methods of an object: the name of each, and the name that it is added up under."""
        for method, phase in phases.items():
            setattr(target, method, self.timed(phase, getattr(target, method)))


@dataclass(frozen=True)
class Mark:
    """What was spent until a number of designs was evaluated.

    Args:
        trials: The designs.
        proposals: Trials proposed, those answered from an earlier trial of their design included.
        wall: Seconds on the wall, without evaluations.
        core: Seconds of this thread on its core, without evaluations.
        propose: Seconds of ``wall`` for sampler, parameters and costs.
        store: Seconds of ``wall`` for the database.
    """

    trials: int = 0
    proposals: int = 0
    wall: float = 0.0
    core: float = 0.0
    propose: float = 0.0
    store: float = 0.0

    def since(self, before: Mark) -> Mark:
        """Return what was spent after another mark."""
        return Mark(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))


def bench(setup: Setup) -> list[Measurement]:
    """Return seconds a trial of our search, as it grows, and trials/s of ours, Optuna's and Ray Tune's."""
    trials = setup.pick(setup.trials, _JUDGED, _JUDGED, 20)
    space = load_space(setup)
    where = f"{space.name}/{space.scale}, {len(space.choices)} parameters, SQLite"
    with tempfile.TemporaryDirectory() as folder:
        marks, seconds = ours(space, trials, Path(folder))
        windows = list(itertools.pairwise([Mark(), *marks]))
        judged = next((mark for mark in marks if mark.trials >= _JUDGED), marks[-1])
        rows = [_share(where, Mark(), judged, Target(5.0, at_most=True))]
        rows += [_share(where, first, last) for first, last in windows if len(windows) > 1]
        rows.append(Measurement(f"{where}: resuming after {marks[-1].trials} trials", seconds, "s"))
        few = min(trials, _PLAIN_TRIALS)
        rate = marks[0].trials / marks[0].wall
        plain = few / plain_optuna(space, few, Path(folder))
        rows.append(_against(where, rate, plain, f"study.optimize, {few} trials", marks[0]))
        count = 2 if setup.quick else min(trials, _TUNE_TRIALS)
        tune = count / ray_tune(space, count, Path(folder))
        rows.append(_against(where, rate, tune, f"Ray Tune with OptunaSearch, {count} trials", marks[0]))
    return rows


def ours(space: Space, trials: int, folder: Path) -> tuple[list[Mark], float]:
    """Search with our loop, as far as it finds designs, and begin once more where it ended.

    Returns:
        What was spent when each mark was passed, the last trial included, and the seconds until the search,
        started anew for one trial more, had its next designs.
    """
    watch, marks = PhaseTimer(), list[Mark]()

    def mark(done: int) -> None:
        wall = time.perf_counter() - began[0] - watch.wall["evaluate"]
        core = time.thread_time() - began[1] - watch.core["evaluate"]
        propose = watch.wall["draw"] + watch.wall["describe"]
        marks.append(Mark(done, watch.calls["describe"], wall, core, propose, watch.wall["store"]))

    def on_result(record: TrialRecord, done: int) -> None:
        if done in _MARKS or done == trials:
            mark(done)

    def evaluate(
        designs: list[Architecture], required_top1: list[float], more: MoreDesigns | None = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        scores = watch.timed("evaluate", lambda: [{"top1": looked_up(design)} for design in designs])()
        # As workers report: a few at once, each few stored by themselves.
        for first in range(0, len(scores), 8):
            yield dict(enumerate(scores[first : first + 8], start=first))

    search = _TimedSearch(*_parts(space, trials, folder), evaluate, analytic_costs, watch=watch)
    began = time.perf_counter(), time.thread_time()
    evaluated = sum(record.evaluated for record in search.run(on_result))
    if not marks or marks[-1].trials < evaluated:
        mark(evaluated)
    return marks, _resumed(space, marks[-1].trials + 1, folder)


@dataclass
class _TimedSearch(Search):
    """Our search with clocks on its parts.

    Args:
        watch: The clocks.
    """

    watch: PhaseTimer = field(default_factory=PhaseTimer)

    def __post_init__(self) -> None:
        """Put a clock on the store."""
        self.watch.add_to(self.store, add="store")

    def create_proposer(self) -> Proposer:
        """Return the search's proposer with a clock on it."""
        proposer = super().create_proposer()
        self.watch.add_to(proposer, ask="draw", tell="draw")
        return proposer

    def describe_proposal(self, trial: FrozenTrial, batch: int, index: int) -> TrialRecord:
        """Describe a proposal by the clock."""
        record: TrialRecord = self.watch.timed("describe", super().describe_proposal)(trial, batch, index)
        return record


def _parts(space: Space, trials: int, folder: Path) -> tuple[Space, Store, SearchConfig]:
    """Return what our search searches, where its trials go and how it proposes."""
    goal = Goal()
    store = Store(sqlite_url(Path(folder, "ours.db")), "ours", goal.objectives, space.choices)
    return space, store, SearchConfig(goal, batch_size=_POPULATION, trials=trials)


def _resumed(space: Space, trials: int, folder: Path) -> float:
    """Return the seconds from opening the store to the first designs to evaluate."""
    began, reached = time.perf_counter(), list[float]()

    def evaluate(
        designs: list[Architecture], required_top1: list[float], more: MoreDesigns | None = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        reached.append(time.perf_counter() - began)
        yield {index: {"top1": looked_up(design)} for index, design in enumerate(designs)}

    Search(*_parts(space, trials, folder), evaluate, analytic_costs).run(lambda record, done: None)
    # A space that is used up has no next design.
    return reached[0] if reached else time.perf_counter() - began


def _share(where: str, first: Mark, last: Mark, target: Target | None = None) -> Measurement:
    """Return the row of the trials between two marks."""
    spent = last.since(first)
    wall, core, propose, store = (
        1e3 * seconds / spent.trials for seconds in (spent.wall, spent.core, spent.propose, spent.store)
    )
    return Measurement(
        f"{where}: share of a {EVALUATION_SECONDS} s evaluation, trials {first.trials + 1}-{last.trials}",
        100 * wall / (wall + 1e3 * EVALUATION_SECONDS),
        "%",
        target=target,
        details={
            "ms_per_trial": {
                "total": wall,
                "propose": propose,
                "store": store,
                "rest": wall - propose - store,
            },
            "core_ms_per_trial": core,
            "proposals": spent.proposals,
        },
    )


def _against(where: str, ours: float, theirs: float, what: str, mark: Mark) -> Measurement:
    """Return the row of our rate beside another tool's."""
    return Measurement(f"{where}: first {mark.trials} trials", ours, "trials/s", theirs, what, ours / theirs)


def plain_optuna(space: Space, trials: int, folder: Path) -> float:
    """Return the seconds of Optuna's own loop: same storage, sampler, parameters and objective."""
    study = optuna.create_study(
        storage=open_storage(sqlite_url(Path(folder, "plain.db"))),
        directions=Goal().directions,
        sampler=NSGAIISampler(population_size=_POPULATION, seed=0),
    )
    began = time.perf_counter()
    study.optimize(lambda trial: _objectives(space.suggest(trial)), n_trials=trials)
    return time.perf_counter() - began


def ray_tune(space: Space, trials: int, folder: Path) -> float:
    """Return the seconds of Ray Tune with OptunaSearch: same sampler, parameters and objective."""
    from nas.cluster import ray_cluster
    from nas.cluster.trials import tune_with_optuna

    names = list(Goal().objectives)
    distributions: dict[str, BaseDistribution] = {
        choice.name: CategoricalDistribution(choice.options) for choice in space.choices
    }
    sampler = NSGAIISampler(population_size=_POPULATION, seed=0)
    ray_cluster.start(ray_cluster.survey())

    def objective(values: dict[str, Any]) -> dict[str, float]:
        return dict(zip(names, _objectives(space.assemble(values)), strict=True))

    try:
        began = time.perf_counter()
        tune_with_optuna(objective, distributions, names, Goal().directions, sampler, trials, str(folder))
        return time.perf_counter() - began
    finally:
        ray_cluster.stop()


def _objectives(architecture: Architecture) -> Sequence[float]:
    """Return the objectives' values of a design."""
    return looked_up(architecture), analytic_costs(architecture)["macs"]
