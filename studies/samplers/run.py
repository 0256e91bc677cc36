"""Samplers compared on two test beds: hypervolume against evaluations and seconds, random search in the same picture.

The bed ``table`` answers with what a random forest predicts of a design's stand-alone training, fitted to
``studies/attention_table``, and with the noise of one training on top; the bed ``supernet`` with the validation accuracy
of a design in a supernet of the same space, which is trained once::

    nas search --space studies/attention_table/space.yaml --data folder:IMAGES --image-size 16 --epochs 40 \\
        --budget 1cpu,2trials --batch 2 --study SUPERNET
    python studies/samplers/run.py --scratch /tmp/samplers --supernet SUPERNET

IMAGES are those of the table, which ``studies/attention_table/make.py`` leaves in its scratch folder. Searches are the
product's own loop. Killed and started again, the script goes on where it was; without ``--supernet`` that bed is left out.
``figure.py`` draws what it wrote.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.samplers import GPSampler, NSGAIIISampler
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

from nas.ranking.correlation import kendall_tau
from nas.ranking.trained_designs import TrainedDesign, TrainingTable
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.search.limits import Limits
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.pareto import front
from nas.search.prediction import describe
from nas.search.proposers import Proposer
from nas.search.samplers import SAMPLERS, StudyProposer, create_proposer
from nas.search.screening import ScreeningProposer
from nas.search.trial_store import TrialRecord
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration
from search_spaces.space import Space

HERE = Path(__file__).parent
TABLE = HERE.parent / "attention_table"
GOAL = Goal(("top1", "macs"))
#: Designs proposed at once, the default of ``--batch``.
BATCH = 32
#: Evaluations between two points of a curve.
STEP = 8
VALIDATION_IMAGES = 500
TREES, FOLDS = 100, 10


class Bed(Protocol):
    """What a search is tested on.

    Attributes:
        low, high: Accuracies in percent between which hypervolume is counted.
    """

    low: float
    high: float

    @property
    def seconds(self) -> float:
        """What an evaluation takes."""

    def answer(self, designs: Sequence[Architecture]) -> list[float]:
        """Return the accuracies that a search is told, in percent."""

    def truth(self, design: Architecture) -> float:
        """Return the accuracy of an answered design that its hypervolume counts."""


class TableBed:
    """Answers with predicted accuracies of trainings, in the manner of NAS-Bench-301 (arXiv 2008.09777).

    Args:
        designs: The designs that were trained.
    """

    low, high = 36.0, 48.0  # of the table: 36.1 to 46.1

    def __init__(self, designs: Sequence[TrainedDesign]) -> None:
        features = [describe(each.architecture) for each in designs]
        self.names = sorted({name for one in features for name in one})
        rows, scores = self._to_rows(features), np.array([each.val_top1 for each in designs])
        self.forest = self._forest().fit(rows, scores)
        runs = [[run.val_top1 for run in each.runs] for each in designs if len(each.runs) > 1]
        self.noise = math.sqrt(fmean(stdev(one) ** 2 for one in runs))
        self.seconds = fmean(run.seconds for each in designs for run in each.runs)
        self._known: dict[str, float] = {}
        held_out = np.zeros(len(scores))
        for learned, left in KFold(FOLDS, shuffle=True, random_state=0).split(rows):
            held_out[left] = self._forest().fit(rows[learned], scores[learned]).predict(rows[left])
        self.quality = {
            "designs": len(designs),
            "tau": kendall_tau(held_out.tolist(), scores.tolist()),
            "r2": float(1 - np.mean((held_out - scores) ** 2) / np.var(scores)),
            "noise": self.noise,
        }

    def _forest(self) -> RandomForestRegressor:
        return RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.4, random_state=0)

    def _to_rows(self, features: Sequence[Mapping[str, float]]) -> Any:
        return np.array([[one.get(name, 0.0) for name in self.names] for one in features])

    def answer(self, designs: Sequence[Architecture]) -> list[float]:
        """See `Bed.answer`; the noise of a design is always the same."""
        predicted = self.forest.predict(self._to_rows([describe(design) for design in designs]))
        self._known.update({d.digest: float(top1) for d, top1 in zip(designs, predicted, strict=True)})
        noise = (np.random.default_rng(int(d.digest, 16)).standard_normal() for d in designs)
        return [float(top1 + self.noise * one) for top1, one in zip(predicted, noise, strict=True)]

    def truth(self, design: Architecture) -> float:
        """See `Bed.truth`: without noise."""
        return self._known[design.digest]


class SupernetBed:
    """Answers with accuracies in a trained supernet, which all searches share in a file.

    Args:
        folder: The study that trained it.
        cache: The file.
    """

    low, high = 20.0, 45.0

    def __init__(self, folder: Path, cache: Path) -> None:
        self.cache = cache
        self._folder = folder
        self._known: dict[str, list[float]] = json.loads(cache.read_text()) if cache.exists() else {}
        self._worker: Any = None

    @property
    def seconds(self) -> float:
        """Mean seconds of the evaluations in the file."""
        return fmean(seconds for _, seconds in self._known.values())

    def answer(self, designs: Sequence[Architecture]) -> list[float]:
        """See `Bed.answer`."""
        new = [design for design in designs if design.digest not in self._known]
        if new:
            self._evaluate(new)
            write_json(self.cache, self._known)
        return [self.truth(design) for design in designs]

    def _evaluate(self, designs: Sequence[Architecture]) -> None:
        if self._worker is None:
            # Torch is loaded where it is needed: most of a run on the other bed would be its import.
            from nas.evaluation.population import EvaluationWorker, payload_from_data
            from nas.pipeline.images import load_study_data
            from nas.study.folder import Study
            from nas.training.supernet_checkpoint import read_supernet

            study = Study(self._folder)
            settings = study.settings()
            supernet = read_supernet(study.space(), settings.sharing, study.supernet_file)
            data = load_study_data(settings, study)
            payload = payload_from_data(supernet, data, VALIDATION_IMAGES, settings.seed)
            self._worker = EvaluationWorker(payload, "cpu")
        for design in designs:
            began = time.process_time()
            (scores,) = self._worker.score([(design.to_json(), 0.0)])
            self._known[design.digest] = [scores["top1"], time.process_time() - began]

    def truth(self, design: Architecture) -> float:
        """See `Bed.truth`: what was answered."""
        return self._known[design.digest][0]


class NoStore:
    """Keeps no trial of a search for another process, and no other process searches with it."""

    lease = None

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Finish trials."""

    def records(self) -> list[TrialRecord]:
        """Return what an earlier process kept."""
        return []


@dataclass(frozen=True)
class Method:
    """A way to search.

    Args:
        create: Returns what proposes.
        starts: Whether it begins with the analogues of published designs.
    """

    create: Callable[[Limits], Proposer]
    starts: bool = True


class LocalSearch(ScreeningProposer):
    """Mutates designs of the front, one choice of each on average and at least one; nothing is predicted."""

    def breed(self, count: int, rng: Random) -> list[Architecture]:
        """Return so many designs to propose."""
        space, parents = self.limits.space, self.parents()
        return [space.mutate(rng.choice(parents), rng, 1 / len(space.choices)) for _ in range(count)]


def of_product(name: str) -> Method:
    """Return a sampler that ``--sampler`` offers."""
    return Method(lambda limits: create_proposer(name, limits, BATCH))


def of_optuna(create: Callable[[int], optuna.samplers.BaseSampler]) -> Method:
    """Return a sampler of Optuna, given its seed."""
    return Method(lambda limits: StudyProposer(limits.space.choices, limits.goal.directions, create))


METHODS = {
    **{name: of_product(name) for name in SAMPLERS},
    "random, no starts": Method(of_product("random").create, starts=False),
    "local search": Method(lambda limits: LocalSearch(limits, 1)),
    "NSGA-III": of_optuna(lambda seed: NSGAIIISampler(population_size=BATCH, seed=seed)),
    "GP": of_optuna(lambda seed: GPSampler(seed=seed, n_startup_trials=BATCH, warn_independent_sampling=False)),
}


@dataclass
class TimedSearch(Search):
    """The product's search with a clock on what proposes.

    Args:
        method: How it proposes.
    """

    method: Method = field(default_factory=lambda: of_product("random"))
    seconds: float = 0.0

    def create_proposer(self) -> Proposer:
        """Return the method's proposer with a clock on it."""
        proposer = self.method.create(self.limits)
        for name in ("ask", "tell"):
            setattr(proposer, name, self._timed(getattr(proposer, name)))
        return proposer

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            began = time.process_time()
            try:
                return function(*given)
            finally:
                self.seconds += time.process_time() - began

        return run


def search(space: Space, bed: Bed, method: Method, seed: int, trials: int) -> dict[str, Any]:
    """Return the curve of a search: hypervolume and seconds of proposing after every ``STEP`` evaluations."""
    spent: list[float] = []

    def evaluate(
        designs: list[Architecture], required: list[float], more: object
    ) -> Iterator[dict[int, dict[str, float]]]:
        spent.extend([run.seconds] * len(designs))
        yield {index: {"top1": top1} for index, top1 in enumerate(bed.answer(designs))}

    config = SearchConfig(GOAL, "random", BATCH, trials, None, seed)
    starts = analogues(space) if method.starts else []
    run = TimedSearch(space, NoStore(), config, evaluate, analytic_costs, starts, method=method)  # type: ignore[arg-type]
    rows = [row for row in run.run(lambda record, done: None) if row.evaluated]
    ends = range(STEP, trials + 1, STEP)
    return {
        "seed": seed,
        "hypervolume": [round(hypervolume(rows[:end], space, bed), 3) for end in ends],
        "proposing": [round(spent[end - 1], 3) for end in ends],
    }


def hypervolume(rows: Sequence[TrialRecord], space: Space, bed: Bed) -> float:
    """Return the share, in percent, of a box that the front of evaluated designs dominates.

    The box reaches from the space's smallest to its largest MACs, on a logarithmic scale, and from the lowest to the
    highest accuracy of the bed. The front is that of what the search was told, its accuracies are what is true of it.
    """
    least, most = (math.log(analytic_costs(one)["macs"]) for one in (space.smallest, space.largest))
    told = [GOAL.values(row.scores) for row in rows]
    chosen = sorted((rows[index] for index in front(told, GOAL.directions)), key=lambda row: row.scores["macs"])
    places = [(math.log(row.scores["macs"]) - least) / (most - least) for row in chosen]
    best = area = 0.0
    for row, place, end in zip(chosen, places, [*places[1:], 1.0], strict=True):
        best = max(best, min(1.0, (bed.truth(row.architecture) - bed.low) / (bed.high - bed.low)))
        area += best * (end - place)
    return 100 * area


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, print the tables and write them with their provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True, help="folder for finished searches")
    parser.add_argument("--supernet", type=Path, help="the study whose supernet is the second bed")
    parser.add_argument("--seeds", type=int, nargs=2, default=(5, 3), help="numbers of seeds on either bed, from 0 on")
    parser.add_argument("--trials", type=int, nargs=2, default=(256, 96), help="evaluations on either bed")
    parser.add_argument("--only", nargs="*", help="methods to run; all without")
    parser.add_argument("--finished", action="store_true", help="search nothing, print what is finished")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of results.json")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options.scratch.mkdir(parents=True, exist_ok=True)
    known, space = TrainingTable(TABLE / "table.json"), load_declaration(TABLE / "space.yaml").space(None, 16, 3, 10)
    table = TableBed(known.trained(int(known.about["epochs"])))
    beds: dict[str, Bed] = {"table": table}
    if options.supernet is not None:
        beds["supernet"] = SupernetBed(options.supernet, options.scratch / "supernet.json")
    content: dict[str, Any] = {"surrogate": table.quality, "step": STEP, "beds": {}}
    for (name, bed), trials, seeds in zip(beds.items(), options.trials, options.seeds, strict=False):
        runs: dict[str, list[dict[str, Any]]] = {}
        for seed, method in product(range(seeds), options.only or METHODS):
            file = options.scratch / f"{name}-{method.replace(',', '').replace(' ', '-')}-{seed}-{trials}.json"
            if not (file.exists() or options.finished):
                write_json(file, search(space, bed, METHODS[method], seed, trials))
                print(file.stem, file=sys.stderr, flush=True)
            if file.exists():
                runs.setdefault(method, []).append(json.loads(file.read_text(encoding="utf-8")))
        content["beds"][name] = {"trials": trials, "seconds": bed.seconds, "runs": runs}
    command = ["python", "studies/samplers/run.py", *(sys.argv[1:] if arguments is None else arguments)]
    content["provenance"] = provenance(0, command)
    print(*to_lines(content), sep="\n")
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "results.json", content)


def to_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables: what the surrogate is worth, then each bed, its best method first."""
    surrogate = content["surrogate"]
    yield (
        f"Surrogate of {surrogate['designs']} designs, {FOLDS}-fold: Kendall tau {surrogate['tau']:.2f}, "
        f"R2 {surrogate['r2']:.2f}; noise {surrogate['noise']:.2f} points"
    )
    for name, bed in content["beds"].items():
        trials, runs = bed["trials"], bed["runs"]
        quarter = trials // 4
        yield ""
        yield f"Bed {name}: {trials} evaluations of {bed['seconds']:.2f} s"
        yield ""
        yield (
            f"| sampler | seeds | after {quarter} | after {trials // 2} | after {trials} | against random, paired | "
            f"reaches random's {trials} after | a quarter against random's all, paired | seconds a proposal |"
        )
        yield "|---|---|---|---|---|---|---|---|---|"
        for method in sorted(runs, key=lambda one: -fmean(run["hypervolume"][-1] for run in runs[one])):
            yield to_row(method, runs[method], runs["random"], trials)


def to_row(method: str, runs: Sequence[Mapping[str, Any]], random: Sequence[Mapping[str, Any]], trials: int) -> str:
    """Return the row of a method; runs are paired with those of random search by seed."""
    curves, ends = [run["hypervolume"] for run in runs], [run["hypervolume"][-1] for run in random][: len(runs)]
    at = [format_spread([curve[count // STEP - 1] for curve in curves]) for count in (trials // 4, trials // 2, trials)]
    gains = format_wins([curve[-1] - end for curve, end in zip(curves, ends, strict=True)])
    early = format_wins([curve[trials // 4 // STEP - 1] - end for curve, end in zip(curves, ends, strict=True)])
    reached = [
        next((STEP * (place + 1) for place, value in enumerate(curve) if value >= end), None)
        for curve, end in zip(curves, ends, strict=True)
    ]
    counts = ", ".join("never" if count is None else str(count) for count in reached)
    seconds = fmean(run["proposing"][-1] for run in runs) / trials
    return f"| {method} | {len(runs)} | {' | '.join(at)} | {gains} | {counts} | {early} | {seconds:.3f} |"


def format_spread(values: Sequence[float], sign: str = "") -> str:
    """Return ``mean ± standard deviation``; no deviation of a single value."""
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):{sign}.1f}{deviation}"


def format_wins(differences: Sequence[float]) -> str:
    """Return the mean and spread of paired differences, and how many of them are gains."""
    return f"{format_spread(differences, '+')}, {sum(one > 0 for one in differences)} of {len(differences)}"


if __name__ == "__main__":
    main()
