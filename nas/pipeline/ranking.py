"""How well a study's supernet orders designs: a sample of them is trained alone, and the two orders are compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from pydantic import FiniteFloat

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.data.dataset import Data
from nas.evaluation.population import Population, payload_from_data
from nas.pipeline.again import require_trained
from nas.pipeline.images import load_study_data
from nas.pipeline.retraining_memory import require_memory
from nas.ranking.agreement import LEAST_DESIGNS, Agreement, judge, noise_ceiling, size_baselines
from nas.ranking.stratified import sample_evenly
from nas.ranking.train_designs import finished_run, job_folder, train_designs
from nas.ranking.trained_designs import TrainedDesign, TrainingTable
from nas.runtime.console import bar, log
from nas.runtime.documents import read_document
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.search.evaluations import Failure
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe, for_params
from nas.study.recipes import retraining_recipe
from nas.study.time_sheet import record_phase
from nas.training.retraining_job import RetrainingJob
from nas.training.supernet_checkpoint import read_supernet
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError, WorkError

#: What the supernet's two scores are called, accuracy in percent and loss with its sign turned: higher is better.
SUPERNET, SUPERNET_LOSS = "supernet", "supernet loss"
#: The predictor that stands for what a search compares trained designs by.
SCORE_NAMES = {"top1": SUPERNET, "loss": SUPERNET_LOSS}


@dataclass(frozen=True)
class RankingPlan:
    """What to compare.

    Args:
        study: The study.
        data: Its images.
        supernet: Weights of the supernet.
        table: Designs trained alone; those of the study unless another file was given.
        epochs: The length of training that counts.
        recipe: How the sample is trained; None where the table's trainings are taken as they are.
        designs: The sample.
        repeated: Of the sample those that are trained with a second seed.
        scores: What else scored designs, by its name: accuracies or anything else by digest.
        allocation: The workers.
        cluster: Where they run.
    """

    study: Study
    data: Data
    supernet: Path
    table: TrainingTable
    epochs: int
    recipe: Recipe | None
    designs: tuple[tuple[str, Architecture], ...]
    repeated: int
    scores: Mapping[str, Mapping[str, float]]
    allocation: WorkerAllocation
    cluster: Cluster


@dataclass(frozen=True)
class Ranking:
    """How well scores order designs that were trained alone.

    Args:
        designs: The designs with their trainings.
        scores: Of everything that scored them, by digest.
        predictors: How well each orders them, the supernet first.
        baselines: How well their sizes do.
        ceiling: How well one seed of the trainings orders them as another does.
    """

    designs: tuple[TrainedDesign, ...]
    scores: Mapping[str, Mapping[str, float]]
    predictors: tuple[Agreement, ...]
    baselines: tuple[Agreement, ...]
    ceiling: tuple[Agreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **{
                name: [agreement.to_json() for agreement in getattr(self, name)]
                for name in ("predictors", "baselines", "ceiling")
            },
            "designs": [
                {
                    "digest": each.architecture.digest,
                    "origin": each.origin,
                    "design": str(each.architecture),
                    "macs": each.macs,
                    "params": each.params,
                    "val_top1": each.val_top1,
                    "val_top1_by_seed": {str(run.seed): run.val_top1 for run in each.runs},
                    "scores": {
                        name: scores.get(each.architecture.digest) for name, scores in self.scores.items()
                    },
                }
                for each in self.designs
            ],
        }


def plan_ranking(
    study: Study,
    *,
    designs: int = 24,
    repeated: int = 8,
    recipe: str | None = None,
    epochs: int | None = None,
    table: Path | None = None,
    supernet: Path | None = None,
    scores: Sequence[Path] = (),
    budget: str = "auto",
    ray_address: str | None = None,
) -> RankingPlan:
    """Check everything that can be wrong with a ranking before anything is written.

    Args:
        study: A study whose supernet is trained.
        designs: Designs to train alone, evenly over the MACs; what the study has retrained so counts beside them.
        repeated: Of these the number that is trained with a second seed, for the noise of the trainings.
        recipe: Name or file of the recipe; None for the study's.
        epochs: How long, where the recipe is not to decide.
        table: A file of trainings of designs of this space on these images, in place of a sample.
        supernet: Weights of another supernet of the space in place of the study's.
        scores: JSON files of other scores by digest, to be judged beside the supernet's.
        budget: What may be used.
        ray_address: Which Ray cluster is used; None for the one that is found.

    Raises:
        RequestError: If something is wrong; the sentence says what.
    """
    study.require()
    study.lock.require_free()
    settings = study.settings()
    if supernet is None and not settings.needs_supernet:
        raise RequestError(
            f"the search of {study.folder} compares no accuracies, so that it has no supernet to judge; give one of "
            "its space with --supernet"
        )
    if supernet is None and settings.supernet is None:
        require_trained(study)
    if designs < LEAST_DESIGNS:
        raise RequestError(f"--designs {designs} have no order to speak of; give {LEAST_DESIGNS} or more")
    parsed, cluster = parse_budget(budget), ray_cluster.survey(ray_address)
    if parsed.trials is not None or parsed.seconds is not None:
        raise RequestError(
            f"--budget {budget}: trainings are as long as their recipe says; leave the limits of time and trials out"
        )
    allocation = allocate_workers(parsed, cluster.cpus, cluster.gpus, where=cluster.where)
    space, given = study.space(), _read_scores(scores)
    weights = supernet or supernet_weights(study)
    read_supernet(space, settings.sharing, weights)  # which is needed only after hours of training
    data = load_study_data(settings, study)
    study.require_images(data)
    if table is not None:
        known = TrainingTable(table)
        _require_same_images(known, data)
        length = int(known.about["epochs"])
        sample = tuple(
            (each.origin, each.architecture)
            for each in known.trained(length)
            if space.contains(each.architecture)
        )
        if len(sample) < LEAST_DESIGNS:
            raise RequestError(
                f"{table} holds {len(sample)} trained designs of space {space.name}, and an order takes "
                f"{LEAST_DESIGNS} or more; give a table of this space, or leave --table out to train designs here"
            )
        _require_scored(given, scores, {design.digest for _, design in sample})
        return RankingPlan(study, data, weights, known, length, None, sample, 0, given, allocation, cluster)
    numbers = retraining_recipe(settings, recipe, epochs)
    own = open_table(study, numbers, data)
    drawn = tuple(sample_evenly(space, Random(settings.seed), designs))
    if len(drawn) < LEAST_DESIGNS:
        raise RequestError(
            f"an order takes {LEAST_DESIGNS} designs or more, and of space {space.name} there are {len(drawn)}; "
            "compare them with nas retrain"
        )
    _require_scored(given, scores, {*own.designs, *(design.digest for _, design in drawn)})
    return RankingPlan(
        study, data, weights, own, numbers.epochs, numbers, drawn, repeated, given, allocation, cluster
    )


def _read_scores(files: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return scores by digest from files, by their names, which have to differ."""
    found: dict[str, dict[str, float]] = {}
    for file in files:
        own = file.stem in (SUPERNET, SUPERNET_LOSS)
        if own or file.stem in found:
            taken = "the supernet's own scores" if own else "those of another file"
            raise RequestError(
                f"--scores {file} would be called {file.stem}, as {taken} are; rename the file"
            )
        found[file.stem] = read_document(file, dict[str, FiniteFloat])
    return found


def _require_scored(
    given: Mapping[str, Mapping[str, float]], files: Sequence[Path], digests: set[str]
) -> None:
    for file, by_digest in zip(files, given.values(), strict=True):
        if (count := len(digests & by_digest.keys())) < LEAST_DESIGNS:
            raise RequestError(
                f"--scores {file} has {count} of the {len(digests)} designs that are compared, and an order takes "
                f"{LEAST_DESIGNS} or more; give scores by the digests of the designs, as ranking.json has them"
            )


def _require_same_images(table: TrainingTable, data: Data) -> None:
    if table.about["images"] != data.digest:
        raise RequestError(
            f"the trainings of {table.file} are on other images or another split than this study's; rank a study of "
            "those images, or leave --table out to train designs here"
        )


def open_table(study: Study, recipe: Recipe, data: Data) -> TrainingTable:
    """Return what a study has trained alone by a recipe, with what it has retrained so.

    Raises:
        StudyError: If its table is damaged or of another recipe.
    """
    about = {"images": data.digest, "epochs": recipe.epochs, "recipe": asdict(recipe)}
    table = TrainingTable(trainings_file(study), about)
    _adopt_retrained(study, table, recipe, data)
    return table


def trainings_file(study: Study) -> Path:
    """Return the file of what a study has trained alone."""
    return study.folder / "ranking" / "trainings.json"


def supernet_weights(study: Study) -> Path:
    """Return the file of a study's supernet."""
    given = study.settings().supernet
    return Path(given) if given else study.supernet_file


def _adopt_retrained(study: Study, table: TrainingTable, recipe: Recipe, data: Data) -> None:
    """Take over what the study has retrained from scratch in the same way."""
    images = study.images_digest(data)
    for result in study.results():
        design = Architecture.from_json(result["architecture"])
        folder = study.retraining_folder(design.digest, result["mode"])
        own = for_params(recipe, costs(design).params)
        job = RetrainingJob(Design(design), result["mode"], folder, own, images)
        if result["mode"] == "scratch" and study.space().contains(design) and job.is_finished:
            table.add_designs([("retrained", design)])
            run = finished_run(job)
            table.runs.setdefault(run.key, run)


def run_ranking(plan: RankingPlan, command: Sequence[str] = ()) -> Ranking:
    """Train the sample, score it with the supernet, and compare; ``ranking.json`` in the study says it all.

    Raises:
        Interrupted: If the user asked to stop; finished trainings are kept.
        RequestError: If a design does not fit its device, or somebody else works on the study.
        WorkError: If a training failed, or a design could not be scored.
    """
    with plan.study.lock.hold(command), record_phase(plan.study.folder, "ranking", plan.allocation):
        log.to(plan.study.log_file)
        if plan.recipe is not None:
            plan.table.refresh()  # another run may have trained since it was read
        jobs = list(_jobs(plan))
        if plan.recipe is not None:
            designs = [job.architecture for job in jobs]
            require_memory(designs, plan.recipe, len(plan.data.train), plan.allocation, plan.cluster)
            plan.table.add_designs(plan.designs)
            for run in plan.table.runs.values():  # which a kill may have kept from being removed
                shutil.rmtree(_folder(plan, run.digest, run.seed), ignore_errors=True)
        ray_cluster.start(plan.cluster)
        if jobs:
            plan.table.provenance.append(provenance(jobs[0].recipe.seed, command))
            train_designs(jobs, plan.data, plan.allocation, plan.table.add_run)
        space = plan.study.space()
        trained = tuple(d for d in plan.table.trained(plan.epochs) if space.contains(d.architecture))
        scores = {**score_with_supernet(plan, [each.architecture for each in trained]), **plan.scores}
        ranking = rank(trained, scores)
        content = {
            "epochs": plan.epochs,
            "supernet": str(plan.supernet),
            "provenance": provenance(plan.study.settings().seed, command),
        }
        write_json(plan.study.ranking_file, {**ranking.to_json(), **content})
        return ranking


def rank(designs: Sequence[TrainedDesign], scores: Mapping[str, Mapping[str, float]]) -> Ranking:
    """Return how well each of several scores, by digest, orders designs that were trained alone."""
    return Ranking(
        tuple(designs),
        scores,
        tuple(judge(name, designs, by_digest) for name, by_digest in scores.items()),
        tuple(size_baselines(designs)),
        tuple(noise_ceiling(designs)),
    )


def _jobs(plan: RankingPlan) -> Iterator[RetrainingJob]:
    """Yield the trainings of a sample that are not there yet: one of each design, then a second of some."""
    if plan.recipe is None:
        return
    first = plan.recipe.seed
    every, some = (architecture for _, architecture in plan.designs), plan.designs[: plan.repeated]
    wanted = [(each, first) for each in every] + [(each, first + 1) for _, each in some]
    images = plan.study.images_digest(plan.data)
    for design, seed in wanted:
        if (design.digest, seed, plan.epochs) not in plan.table.runs:
            recipe = for_params(replace(plan.recipe, seed=seed), costs(design).params)
            folder = _folder(plan, design.digest, seed)
            yield RetrainingJob(Design(design), "scratch", folder, recipe, images)


def _folder(plan: RankingPlan, digest: str, seed: int) -> Path:
    return job_folder(plan.study.folder.absolute() / "ranking", digest, seed, plan.epochs)


def score_with_supernet(plan: RankingPlan, designs: Sequence[Architecture]) -> dict[str, dict[str, float]]:
    """Return what designs reach on the validation images with the supernet's weights: accuracies and losses by digest.

    That which the search compares designs by comes first.

    Raises:
        WorkError: If a design cannot be scored.
    """
    settings = plan.study.settings()
    top1, loss = dict[str, float](), dict[str, float]()
    supernet = read_supernet(plan.study.space(), settings.sharing, plan.supernet)
    payload = payload_from_data(supernet, plan.data, settings.validation_images, settings.seed)
    population = Population(plan.allocation, payload)
    try:
        with bar("scoring with the supernet", len(designs)) as progress:
            for scored in population(list(designs), [0.0] * len(designs)):
                for index, scores in scored.items():
                    if isinstance(scores, Failure):
                        raise WorkError(f"{designs[index].digest} could not be scored: {scores.reason}")
                    top1[designs[index].digest] = scores["top1"]
                    loss[designs[index].digest] = -scores["loss"]
                progress.update(len(top1))
    finally:
        population.close()
    if plan.study.goal().quality == "loss":
        return {SUPERNET_LOSS: loss, SUPERNET: top1}
    return {SUPERNET: top1, SUPERNET_LOSS: loss}
