"""What a search is asked to do: checked as a whole before anything is written, and described for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nas.cluster import ray_cluster
from nas.cluster.budget import Budget, WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.data.dataset import Data, load_data
from nas.latency.table import LatencyTable, read_table
from nas.pipeline.request import SearchRequest
from nas.runtime.console import duration, progress_callback, quantity
from nas.runtime.device import planned_device
from nas.search.analytic import AnalyticScores
from nas.search.limits import Limits
from nas.search.loop import SearchConfig
from nas.search.objectives import Goal, parse_objectives
from nas.search.storage import check_storage, redact_password
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.recipes import default_recipes, stored_recipes
from nas.study.settings import Settings
from nas.training.compiled import require_compiler
from nas.training.pretrained import PretrainedStart, read_pretrained_starts
from nas.training.supernet import steps_per_epoch
from nas.training.supernet_checkpoint import read_supernet
from search_spaces.declaration import Declaration, load_declaration
from search_spaces.errors import RequestError
from search_spaces.space import Space

#: Designs that a search evaluates where its budget does not say.
DEFAULT_TRIALS = 256


@dataclass(frozen=True)
class SearchPlan:
    """A search that was found to be possible; nothing is written yet.

    Args:
        settings: What decides the result.
        budget: What may be used.
        allocation: How the budget is divided among workers.
        cluster: Where they run.
        declaration: The space's declaration.
        space: The space for the images.
        data: The images.
        study: The folder.
        storage_url: Where its trials are stored.
        latency: Latencies that were given or measured before, or None.
        pretrained: Published networks that the supernet starts from; none where it is trained already.
    """

    settings: Settings
    budget: Budget
    allocation: WorkerAllocation
    cluster: Cluster
    declaration: Declaration
    space: Space
    data: Data
    study: Study
    storage_url: str
    latency: LatencyTable | None = None
    pretrained: tuple[PretrainedStart, ...] = ()

    @property
    def goal(self) -> Goal:
        """Objectives and limits."""
        return Goal(parse_objectives(self.settings.objectives), self.settings.limits)

    @cached_property
    def limits(self) -> Limits:
        """What the limits leave of the space, as far as they are on scores that are known already."""
        return Limits(self.space, _known_part(self.goal, self.latency), AnalyticScores(self.latency))

    @cached_property
    def num_listed(self) -> int | None:
        """How many designs there are where the search evaluates all of them, or None."""
        if self.limits.goal != self.goal:
            return None
        listed = self.limits.list_designs(self.search_config.trials)
        return None if listed is None else len(listed)

    @property
    def dataset_info(self) -> DatasetInfo:
        """What the study will remember of the images."""
        return DatasetInfo.from_data(self.data, self.settings.data)

    @property
    def search_config(self) -> SearchConfig:
        """How designs are proposed."""
        return SearchConfig(
            self.goal,
            self.settings.sampler,
            self.settings.batch,
            self.budget.trials or DEFAULT_TRIALS,
            self.budget.seconds,
            self.settings.seed,
            self.settings.racing,
        )


def load_study_data(settings: Settings) -> Data:
    """Load the images of a study, with progress where they are decoded."""
    directory = None if settings.data_dir is None else Path(settings.data_dir)
    with progress_callback("decoding images") as progress:
        return load_data(
            settings.data, data_dir=directory, image_size=settings.image_size, on_progress=progress
        )


def plan_search(request: SearchRequest) -> SearchPlan:
    """Check everything that can be wrong with a request before anything is written.

    Raises:
        RequestError: If something is; the message says what.
    """
    settings, study = request.settings, request.study_folder
    budget = parse_budget(request.budget)
    declaration = load_declaration(settings.space)
    cluster = ray_cluster.survey()
    allocation = allocate_workers(budget, cluster.cpus, cluster.gpus, where=cluster.where)
    data = load_study_data(settings)
    if request.config is None:
        if study.settings_file.exists():
            settings = stored_recipes(settings, request.overrides, study.settings())
        else:
            gpus = allocation.workers if allocation.gpus_per_worker else 0
            settings = default_recipes(settings, request.overrides, data.image_size, gpus)
    space = declaration.space(settings.scale, data.image_size, data.in_channels, len(data.class_names))
    study.check(settings, DatasetInfo.from_data(data, settings.data))
    if settings.compile:
        require_compiler(planned_device(allocation.device))
    if settings.supernet is not None:
        if settings.init_from:
            raise RequestError("--supernet gives weights that are trained already; leave --init-from out")
        read_supernet(space, settings.sharing, Path(settings.supernet))
    request.require_every_option_to_count()
    url = request.storage or study.url
    check_storage(url, study.name, parse_objectives(settings.objectives))
    # A search goes on with the latencies it began with, whatever became of the file they were read from.
    table = study.latency_file if study.latency_file.exists() else settings.latency_table
    latency = None if table is None else read_table(Path(table), space)
    known = _known_part(Goal(parse_objectives(settings.objectives), settings.limits), latency)
    Limits(space, known, AnalyticScores(latency)).require_possible()
    # Once training has begun its own checkpoint counts, and the files may be gone.
    pretrained = () if study.supernet_file.exists() else read_pretrained_starts(settings.init_from, space)
    return SearchPlan(
        settings, budget, allocation, cluster, declaration, space, data, study, url, latency, pretrained
    )


def _known_part(goal: Goal, latency: LatencyTable | None) -> Goal:
    """Return a goal without limits on latencies that are still to be measured."""
    if latency is not None:
        return goal
    return replace(goal, constraints=tuple(one for one in goal.constraints if one[0] != "latency_ms"))


def describe_plan(plan: SearchPlan) -> list[str]:
    """Return the plan in lines for people."""
    data, config, allocation = plan.data, plan.search_config, plan.allocation
    limits = ", ".join(f"{name} <= {quantity(limit)}" for name, limit in plan.goal.constraints)
    time_limit = "" if plan.budget.seconds is None else f", at most {duration(plan.budget.seconds)}"
    return [
        f"space     {plan.space}",
        f"images    {data.name}: {len(data.train)} to train, {len(data.val)} to validate, "
        f"{len(data.class_names)} classes, {data.in_channels}x{data.image_size}x{data.image_size}",
        f"workers   {allocation.workers} on {plan.cluster.where}, each {allocation.cpus_per_worker:g} CPU cores"
        + (f" and {allocation.gpus_per_worker:g} GPU" if allocation.gpus_per_worker else ""),
        f"supernet  {_describe_supernet(plan)}",
        *_describe_pretrained(plan.pretrained),
        f"search    {_describe_designs(plan)}, objectives {plan.settings.objectives}"
        + (f", limits {limits}" if limits else "")
        + ("" if config.racing is None else f", racing {config.racing:g}")
        + time_limit,
        *([] if plan.latency is None else [f"latency   of {plan.latency}"]),
        f"study     {plan.study.folder} ({redact_password(plan.storage_url)})",
    ]


def _describe_designs(plan: SearchPlan) -> str:
    if plan.num_listed is None:
        return f"{plan.search_config.trials} designs by {plan.search_config.sampler}"
    within = " within the limits" if plan.goal.constraints else " of the space"
    return (
        "the only design" if plan.num_listed == 1 else f"all {plan.num_listed} designs, each once,"
    ) + within


def _describe_supernet(plan: SearchPlan) -> str:
    settings, recipe = plan.settings, plan.settings.recipe
    if settings.supernet:
        return f"read from {settings.supernet}"
    steps = steps_per_epoch(settings, plan.data) * recipe.epochs
    shards = f"{recipe.shards} {'shards' if recipe.shards > 1 else 'shard'}"
    compiled = ", compiled by region" if settings.compile else ""
    return (
        f"{recipe.epochs} epochs, {steps} steps of {recipe.batch_size} images in {shards}, "
        f"policy {settings.policy}{compiled}"
    )


def _describe_pretrained(starts: Sequence[PretrainedStart]) -> list[str]:
    lines = [
        f"starts    from {start.name}, "
        + (
            "the head that all paths share included"
            if start.with_head
            else "all but the head: its classes differ"
        )
        for start in starts
    ]
    if len(starts) > 1:
        lines.append(f"          where two want the same weights, {starts[-1].name} has them")
    return lines
