"""What a search costs beside its evaluations, which a table look-up replaces here."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import NSGAIISampler

from nas.bench.core import Row, Setup, Target
from nas.bench.spaces import space_of
from nas.objectives import Goal
from nas.search import Plan, Search, cheap_costs
from nas.storage import Row as Trial
from nas.storage import Store, open_storage
from search_spaces.architecture import Architecture
from search_spaces.space import Space

EVALUATION_SECONDS = 0.3  # what evaluating a small design takes on two cores
_MARKS = (100, 1_000, 10_000)
_POPULATION = 32
_PLAIN_TRIALS = 100  # of plain Optuna, which needs a third of a second each
_TUNE_TRIALS = 12


def looked_up(architecture: Architecture) -> float:
    """Return a made-up accuracy in percent, the same for equal designs."""
    digest = hashlib.sha256(architecture.digest.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 100


class Stopwatch:
    """Adds up what functions take, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with a clock on it."""

        def run(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began

        return run


def bench(setup: Setup) -> list[Row]:
    """Return seconds a trial of our search, as it grows, and trials/s of ours, Optuna's and Ray Tune's."""
    trials = setup.pick(setup.trials, 1_000, 1_000, 20)
    space = space_of(setup)
    where = f"{space.name}/{space.scale}, {len(space.choices)} parameters, SQLite"
    with tempfile.TemporaryDirectory() as folder:
        marks = ours(space, trials, Path(folder))
        rows = [_window(where, first, last) for first, last in zip([None, *marks], marks, strict=False)]
        few = min(trials, _PLAIN_TRIALS)
        rate = marks[0]["trials"] / marks[0]["total"]
        plain = few / plain_optuna(space, few, Path(folder))
        rows.append(_against(where, rate, plain, f"study.optimize, {few} trials", marks[0]))
        count = 2 if setup.quick else min(trials, _TUNE_TRIALS)
        tune = count / ray_tune(space, count, Path(folder))
        rows.append(_against(where, rate, tune, f"Ray Tune with OptunaSearch, {count} trials", marks[0]))
    return rows


def ours(space: Space, trials: int, folder: Path) -> list[dict[str, Any]]:
    """Search with our loop and return what was spent when each mark was passed, the last trial included.

    Returns:
        ``trials`` and the seconds ``total``, ``propose`` (sampler, parameters, costs), ``store`` and
        ``evaluate`` up to there.
    """
    goal, watch, marks = Goal(), Stopwatch(), list[dict[str, Any]]()
    store = Store(f"sqlite:///{folder}/ours.db", "ours", goal.objectives, space.choices)
    plan = Plan(goal, batch_size=_POPULATION, trials=trials)

    def evaluate(designs: list[Architecture], bars: list[float]) -> Iterator[dict[int, dict[str, float]]]:
        found = watch.timed("evaluate", lambda: [{"top1": looked_up(design)} for design in designs])()
        # As workers report: a few at once, each few stored by themselves.
        for first in range(0, len(found), 8):
            yield dict(enumerate(found[first : first + 8], start=first))

    search = Search(space, store, plan, evaluate, cheap_costs)
    study = search._study()
    for target, name, phase in (
        (store, "add", "store"),
        (study, "ask", "propose"),
        (search, "_proposal", "propose"),
    ):
        setattr(target, name, watch.timed(phase, getattr(target, name)))
    setattr(search, "_study", lambda: study)  # noqa: B010
    began = time.perf_counter()

    def report(row: Trial, done: int) -> None:
        if done in _MARKS or done == trials:
            marks.append({"trials": done, "total": time.perf_counter() - began, **watch.spent})

    search.run(report)
    return marks


def _window(where: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Row:
    """Return the row of the trials between two marks."""
    start = before or dict.fromkeys(after, 0)
    count = after["trials"] - start["trials"]
    spent = {name: 1e3 * (after[name] - start.get(name, 0)) / count for name in after if name != "trials"}
    evaluate = spent.pop("evaluate", 0.0)
    total = spent["total"] - evaluate
    share = 100 * total / (total + 1e3 * EVALUATION_SECONDS)
    phases = {"propose": spent.get("propose", 0.0), "store": spent.get("store", 0.0)}
    return Row(
        f"{where}: share of a {EVALUATION_SECONDS} s evaluation, trials {start['trials'] + 1}-{after['trials']}",
        share,
        "%",
        target=Target(5.0, at_most=True),
        details={"ms_per_trial": {"total": total, **phases, "rest": total - sum(phases.values())}},
    )


def _against(where: str, ours: float, theirs: float, what: str, mark: Mapping[str, Any]) -> Row:
    name = f"{where}: first {mark['trials']} trials"
    return Row(name, ours, "trials/s", theirs, what, ours / theirs)


def plain_optuna(space: Space, trials: int, folder: Path) -> float:
    """Return the seconds of Optuna's own loop: same storage, sampler, parameters and objective."""
    study = optuna.create_study(
        storage=open_storage(f"sqlite:///{folder}/plain.db"),
        directions=Goal().directions,
        sampler=NSGAIISampler(population_size=_POPULATION, seed=0),
    )
    began = time.perf_counter()
    study.optimize(lambda trial: _objectives(space.suggest(trial)), n_trials=trials)
    return time.perf_counter() - began


def ray_tune(space: Space, trials: int, folder: Path) -> float:
    """Return the seconds of Ray Tune with OptunaSearch: same sampler, parameters and objective."""
    from nas import workers

    names = list(Goal().objectives)
    distributions: dict[str, BaseDistribution] = {
        choice.name: CategoricalDistribution(choice.options) for choice in space.choices
    }
    sampler = NSGAIISampler(population_size=_POPULATION, seed=0)
    workers.start(workers.survey())

    def objective(values: dict[str, Any]) -> dict[str, float]:
        return dict(zip(names, _objectives(space.assemble(values)), strict=True))

    try:
        began = time.perf_counter()
        workers.tune_with_optuna(
            objective, distributions, names, Goal().directions, sampler, trials, str(folder)
        )
        return time.perf_counter() - began
    finally:
        workers.stop()


def _objectives(architecture: Architecture) -> Sequence[float]:
    return looked_up(architecture), cheap_costs(architecture)["macs"]
