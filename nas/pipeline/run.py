"""The main job from end to end: plan, train the supernet, search, and hand over to retraining and export."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.cluster import ray_cluster
from nas.cluster.budget import Budget, WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.cluster.team import run_distributed
from nas.data.splits import Data, load_data
from nas.evaluation.population import Population, payload_from_data
from nas.export.writer import export_model
from nas.latency.table import LatencyTable, measure, read_table
from nas.runtime.console import bar, duration, log, progress_callback, quantity
from nas.runtime.device import planned_device
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.search.loop import Search, SearchConfig, analytic_costs, pareto_records
from nas.search.objectives import Goal, parse_objectives
from nas.search.storage import check_storage, redact_password
from nas.search.trial_store import TrialRecord
from nas.study.folder import DatasetInfo, Study
from nas.study.recipes import RecipeOverrides, default_recipes, stored_recipes
from nas.study.settings import Settings
from nas.training.compiled import require_compiler
from nas.training.pretrained import PretrainedStart, read_starts
from nas.training.subnet import MODES, retrain, trained_network
from nas.training.supernet import (
    SupernetTask,
    progress_bar,
    read_supernet,
    steps_done,
    steps_per_epoch,
    train_rank,
    train_supernet,
)
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import Declaration, load_declaration
from search_spaces.errors import RequestError, WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet

DEFAULT_TRIALS = 256


@dataclass(frozen=True)
class Job:
    """A search that was found to be possible; nothing is written yet.

    Args:
        settings: What decides the result.
        budget: What may be used.
        workers: How the budget is cut.
        cluster: Where it runs.
        declaration: The space's declaration.
        space: The space for the images.
        data: The images.
        study: The folder.
        url: The storage.
        latency: Latencies that were given or measured before, or None.
        starts: Published networks that the supernet starts from; none where it is trained already.
    """

    settings: Settings
    budget: Budget
    workers: WorkerAllocation
    cluster: Cluster
    declaration: Declaration
    space: Space
    data: Data
    study: Study
    url: str
    latency: LatencyTable | None = None
    starts: tuple[PretrainedStart, ...] = ()

    @property
    def goal(self) -> Goal:
        """Objectives and limits."""
        return Goal(parse_objectives(self.settings.objectives), self.settings.limits)

    @property
    def search_plan(self) -> SearchConfig:
        """How designs are proposed."""
        trials = self.budget.trials or DEFAULT_TRIALS
        return SearchConfig(
            self.goal,
            self.settings.sampler,
            self.settings.batch,
            trials,
            self.budget.seconds,
            self.settings.seed,
            self.settings.racing,
        )


def dataset_info(data: Data, spec: str) -> DatasetInfo:
    """Return what a study remembers of its images."""
    return DatasetInfo(
        spec, data.digest, data.image_size, data.in_channels, data.class_names, data.mean, data.std
    )


def open_data(settings: Settings) -> Data:
    """Load the images of a study, with progress where they are decoded."""
    directory = None if settings.data_dir is None else Path(settings.data_dir)
    with progress_callback("decoding images") as progress:
        return load_data(settings.data, data_dir=directory, image_size=settings.image_size, progress=progress)


def prepare(
    settings: Settings,
    budget_text: str,
    study: Study,
    storage: str | None,
    overrides: RecipeOverrides | None = None,
) -> Job:
    """Check everything that can be wrong with a request before anything is written.

    Args:
        settings: What decides the result.
        budget_text: What may be used.
        study: Where it goes.
        storage: Storage URL, or None for the study's own.
        wishes: What the user says of training; None takes the recipes of ``settings`` as they are.

    Raises:
        RequestError: If something is; the message says what.
    """
    budget = parse_budget(budget_text)
    declaration = load_declaration(settings.space)
    cluster = ray_cluster.survey()
    plan = allocate_workers(budget, cluster.cpus, cluster.gpus, where=cluster.where)
    data = open_data(settings)
    if overrides is not None:
        if study.settings_file.exists():
            settings = stored_recipes(settings, overrides, study.settings())
        else:
            gpus = plan.workers if plan.gpus_per_worker else 0
            settings = default_recipes(settings, overrides, data.image_size, gpus)
    space = declaration.space(settings.scale, data.image_size, data.in_channels, len(data.class_names))
    study.check(settings, dataset_info(data, settings.data))
    if settings.compile:
        require_compiler(_device(plan))
    if settings.supernet is not None:
        if settings.init_from:
            raise RequestError("--supernet gives weights that are trained already; leave --init-from out")
        read_supernet(space, settings.sharing, Path(settings.supernet))
    url = storage or study.url
    check_storage(url, study.name, parse_objectives(settings.objectives))
    # A search goes on with the latencies it began with, whatever became of the file they were read from.
    known = study.latency_file if study.latency_file.exists() else settings.latency_table
    latency = None if known is None else read_table(Path(known), space)
    # Once training has begun its own checkpoint counts, and the files may be gone.
    starts = () if study.supernet_file.exists() else read_starts(settings.init_from, space)
    return Job(settings, budget, plan, cluster, declaration, space, data, study, url, latency, starts)


def describe(job: Job) -> list[str]:
    """Return the plan in lines for people."""
    data, plan, settings = job.data, job.search_plan, job.settings
    recipe = settings.recipe
    steps = steps_per_epoch(settings, data) * recipe.epochs
    device = "GPU" if job.workers.gpus_per_worker else "CPU core"
    limits = ", ".join(f"{name} <= {quantity(limit)}" for name, limit in job.goal.constraints)
    time_limit = "" if job.budget.seconds is None else f", at most {duration(job.budget.seconds)}"
    return [
        f"space     {job.space}",
        f"images    {data.name}: {len(data.train)} to train, {len(data.val)} to validate, "
        f"{len(data.class_names)} classes, {data.in_channels}x{data.image_size}x{data.image_size}",
        f"workers   {job.workers.workers} on {job.cluster.where}, each {job.workers.cpus_per_worker:g} CPU cores"
        + (f" and {job.workers.gpus_per_worker:g} {device}" if job.workers.gpus_per_worker else ""),
        "supernet  "
        + (
            f"read from {settings.supernet}"
            if settings.supernet
            else f"{recipe.epochs} epochs, {steps} steps of {recipe.batch_size} images in {recipe.shards} "
            f"{'shards' if recipe.shards > 1 else 'shard'}, policy {settings.policy}"
            + (", compiled by region" if settings.compile else "")
        ),
        *_starting(job.starts),
        f"search    {plan.trials} designs by {plan.sampler}, objectives {settings.objectives}"
        + (f", limits {limits}" if limits else "")
        + ("" if settings.racing is None else f", racing {settings.racing:g}")
        + time_limit,
        *([] if job.latency is None else [f"latency   of {job.latency}"]),
        f"study     {job.study.folder} ({redact_password(job.url)})",
    ]


def _starting(starts: Sequence[PretrainedStart]) -> list[str]:
    lines = [
        f"starts    from {start.name}, "
        + (
            "the head that all paths share included"
            if start.with_head
            else "all but the head: its classes differ"
        )
        for start in starts
    ]
    both = (
        [f"          where two want the same weights, {starts[-1].name} has them"] if len(starts) > 1 else []
    )
    return lines + both


def run(job: Job, command: Sequence[str]) -> list[TrialRecord]:
    """Train the supernet and search; return the Pareto front, best first.

    Raises:
        Interrupted: If the user asked to stop; everything finished is stored.
    """
    study, settings = job.study, job.settings
    study.create(settings, dataset_info(job.data, settings.data), job.declaration, job.url, command)
    log.to(study.log_file)
    for line in describe(job):
        log.note(line)
    supernet = make_supernet(job)
    latency = latencies(job)  # before any worker runs beside the measurement
    ray_cluster.start(job.cluster)
    store = study.store()
    population = Population(
        job.workers,
        payload_from_data(supernet, job.data, settings.validation_images, settings.seed, settings.racing),
    )

    def cheap(design: Architecture) -> dict[str, float]:
        costs = analytic_costs(design)
        return costs if latency is None else {**costs, "latency_ms": latency.latency_ms(design)}

    search = Search(job.space, store, job.search_plan, population, cheap, analogues(job.space))
    done = len({row.architecture.digest for row in search.earlier if row.evaluated})
    if done:
        log.say(f"resuming the search at {done} evaluated designs")
    try:
        with bar("searching", job.search_plan.trials, done) as progress:
            best = [0.0]

            def report(row: TrialRecord, evaluated: int) -> None:
                if row.measured:
                    best[0] = max(best[0], row.scores.get("top1", 0.0))
                progress.update(evaluated, f"best {best[0]:.2f}%")

            rows = search.run(report)
    finally:
        population.close()
    if settings.racing is not None:
        log.say(_saved(rows, min(settings.validation_images, len(job.data.val))))
    found = pareto_records(rows, job.goal)
    if not found:
        raise WorkError(_nothing_found(rows, job))
    study.write_front(rows, job.goal, found, settings.seed)
    return found


def _saved(rows: Sequence[TrialRecord], images: int) -> str:
    """Return what racing saved of evaluations on ``images`` images each."""
    evaluated = [row for row in rows if row.evaluated]
    left = [images - row.stopped_after for row in evaluated if row.stopped_after is not None]
    return (
        f"racing stopped {len(left)} of {len(evaluated)} designs early and saved {sum(left)} of "
        f"{len(evaluated) * images} validation images"
    )


def _nothing_found(rows: list[TrialRecord], job: Job) -> str:
    if not rows:
        return f"the time of --budget {job.budget} was over before a design was evaluated; give it more"
    least = ", ".join(
        f"{name} {quantity(min(row.scores[name] for row in rows))}" for name, _ in job.goal.constraints
    )
    return (
        f"none of {len(rows)} proposed designs keeps the limits; the least seen was {least}: loosen the limits "
        "or search a smaller space"
    )


def make_supernet(job: Job) -> Supernet:
    """Return the trained supernet of a job, training it first where that is not done."""
    if job.settings.supernet is not None:
        return read_supernet(job.space, job.settings.sharing, Path(job.settings.supernet))
    started, plan = time.monotonic(), job.workers
    if ranks(job) > 1:
        supernet = train_team(job)
    else:
        device = _device(plan)
        if device.type == "cpu":
            torch.set_num_threads(max(1, int(plan.workers * plan.cpus_per_worker)))
        supernet = train_supernet(
            job.space, job.settings, job.data, job.study.supernet_file, device, job.starts
        )
    log.note(f"supernet ready after {duration(time.monotonic() - started)}")
    return supernet


def _device(plan: WorkerAllocation) -> torch.device:
    """Return where this process trains."""
    return planned_device(plan.device)


def latencies(job: Job) -> LatencyTable | None:
    """Return the latencies that a job asks for, or None; measure them first where there are none.

    They are measured where the supernet trains: on this machine's GPU if workers have GPUs, else on its CPU.
    """
    table, study = job.latency, job.study
    if table is None:
        if not job.goal.needs_latency:
            return None
        with progress_callback("measuring latencies") as progress:
            table = measure(job.space, _device(job.workers), progress=progress)
    if not study.latency_file.exists():
        write_json(study.latency_file, table.to_json())
    log.note(f"latencies of {table}")
    return table


def ranks(job: Job) -> int:
    """Return how many workers train the supernet: the most that can have equal numbers of shards."""
    shards = job.settings.recipe.shards
    return max(n for n in range(1, min(shards, job.workers.workers) + 1) if shards % n == 0)


def allocate_team(plan: WorkerAllocation, world: int, *, one_machine: bool) -> WorkerAllocation:
    """Return what each of ``world`` ranks gets: all cores of one machine are dealt out among them.

    On a cluster each keeps to a worker's cores, as no machine there need have more.
    """
    cores = plan.workers * plan.cpus_per_worker // world if one_machine else 0
    return replace(plan, workers=world, cpus_per_worker=max(plan.cpus_per_worker, cores))


def train_team(job: Job) -> Supernet:
    """Train the supernet on several workers at once, each with its shards of every batch."""
    checkpoint, settings = job.study.supernet_file.absolute(), job.settings
    plan = allocate_team(job.workers, ranks(job), one_machine=not job.cluster.running)
    done, total = steps_done(checkpoint)
    if not total or done < total:
        ray_cluster.start(job.cluster)
        share = SupernetTask(job.space, settings, job.data, checkpoint, job.starts)
        whole = settings.recipe.epochs * steps_per_epoch(settings, job.data)
        with progress_bar(done, whole) as report:
            run_distributed(train_rank, share, plan, report)
    return read_supernet(job.space, settings.sharing, checkpoint)


def retrain_designs(
    study: Study,
    designs: list[Architecture],
    modes: tuple[str, ...],
    data: Data,
    plan: WorkerAllocation,
    epochs: int | None = None,
    compile: bool = False,
) -> list[dict[str, Any]]:
    """Retrain designs of a study, inheriting from its supernet where asked; best first.

    Args:
        study: The study.
        designs: What to train.
        modes: From where.
        data: Images.
        plan: What each training gets.
        epochs: How long, where the study's recipe is not to decide.
        compile: Whether blocks are compiled by region; they are anyway if the study says so.

    Raises:
        RequestError: If they should be and there is no compiler.
    """
    settings, inherited = study.settings(), {}
    recipe = settings.retraining if epochs is None else replace(settings.retraining, epochs=epochs)
    compile = compile or settings.compile
    if compile:
        require_compiler(_device(plan))
    if "inherit" in modes:
        source = Path(settings.supernet) if settings.supernet else study.supernet_file
        supernet = read_supernet(study.space(), settings.sharing, source)
        inherited = {design.digest: supernet.extract(design).state_dict() for design in designs}
    return retrain(study, designs, modes, recipe, data, inherited, plan, compile)


def export_result(
    study: Study, result: dict[str, Any], folder: Path, formats: tuple[str, ...]
) -> dict[str, float]:
    """Export a retrained design; return the measured differences by file."""
    design, facts = Architecture.from_json(result["architecture"]), study.facts()
    metrics = {
        "top-1 on the test images (%)": result["test_top1"],
        "top-1 on the validation images (%)": result["val_top1"],
        "test images": result["test_images"],
        "trained": "from scratch" if result["mode"] == "scratch" else "from the supernet's weights",
        "images": facts.data,
    }
    differences = export_model(
        trained_network(study, result),
        design,
        folder,
        name=f"{study.name}-{design.digest}",
        mean=facts.mean,
        std=facts.std,
        class_names=facts.class_names,
        metrics=metrics,
        provenance=provenance(study.settings().seed, []),
        formats=formats,
    )
    shown = ", ".join(f"{file} {value:.1e}" for file, value in differences.items())
    log.say(f"exported {design.digest} to {folder}; largest differences to the subnet: {shown}")
    return differences


__all__ = ["MODES", "Job", "describe", "export_result", "open_data", "prepare", "retrain_designs", "run"]
