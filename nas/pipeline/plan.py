"""What a search is asked to do: checked as a whole before anything is written, and described for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nas.cluster import ray_cluster
from nas.cluster.budget import Budget, WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.cluster.teams import count_ranks
from nas.data.dataset import Data
from nas.latency.runtime_names import parse_runtime
from nas.latency.table import LatencyTable, read_table
from nas.pipeline.again import offering_another_search
from nas.pipeline.images import describe_resizing, load_study_data, side_to_keep, side_within_scales
from nas.pipeline.memory import Footprint, plan_memory
from nas.pipeline.preflight import examine_machine, examine_search
from nas.pipeline.request import SearchRequest
from nas.pipeline.teachers import find_teacher_of_supernet
from nas.runtime.uncertainty import warn_of_small_set
from nas.search.analytic import AnalyticScores
from nas.search.limits import Limits
from nas.search.loop import SearchConfig
from nas.search.objectives import Goal
from nas.search.own_objectives import Objective, costs_of, require_functions, require_same_numbers
from nas.study.dataset_info import DatasetInfo
from nas.study.fingerprint import IMAGES
from nas.study.folder import Study
from nas.study.identity import StudyIdentity
from nas.study.recipes import default_recipes, stored_recipes
from nas.study.settings import Settings, choose_ahead, keep_former_defaults, read_settings
from nas.training.compiled import require_compiler
from nas.training.former_checkpoint import former_checkpoint
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from nas.training.pretrained import PretrainedStart, read_pretrained_starts
from nas.training.supernet import count_shards
from nas.training.supernet_checkpoint import format_identity, read_progress, read_supernet
from nas.training.teacher import Teacher
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
        storage_url: Where its trials are stored, without secrets.
        identity: What the study is told by.
        latency: Latencies that were given or measured before, or None.
        pretrained: Published networks that the supernet starts from; none where it is trained already.
        warnings: What may slow or stop it on this machine.
        teacher: What teaches the supernet, or None.
        footprint: Memory that its trainings take, or None where no supernet is trained.
        resizing: Why images are brought to another side than their own though nobody asked, or None.
        join: Whether the search is shared with those who search the study already.
        own: Functions of a Python program.
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
    identity: StudyIdentity
    latency: LatencyTable | None = None
    pretrained: tuple[PretrainedStart, ...] = ()
    warnings: tuple[str, ...] = ()
    teacher: Teacher | None = None
    footprint: Footprint | None = None
    resizing: str | None = None
    join: bool = False
    own: OwnFunctions = NO_FUNCTIONS

    @property
    def images_scored(self) -> int:
        """Validation images that every design is scored on."""
        return count_scored(self.settings, self.data)

    @property
    def supernet_ranks(self) -> int:
        """Workers that train the supernet together."""
        return count_ranks(count_shards(self.settings, self.data), self.allocation.workers)

    @property
    def goal(self) -> Goal:
        """Objectives and limits."""
        return self.settings.goal

    def scores_with(self, latency: LatencyTable | None) -> AnalyticScores:
        """Return what is known of designs without a forward pass, with these latencies."""
        return AnalyticScores(latency, costs_of(self.own.objectives))

    @cached_property
    def limits(self) -> Limits:
        """What the limits leave of the space, as far as they are on scores that are known already."""
        return Limits(self.space, _known_part(self.goal, self.latency), self.scores_with(self.latency))

    @cached_property
    def num_listed(self) -> int | None:
        """How many designs there are where the search evaluates all of them, or None."""
        if self.limits.goal != self.goal.beforehand:
            return None
        listed = self.limits.list_designs(self.search_config.trials)
        return None if listed is None else len(listed)

    @property
    def dataset_info(self) -> DatasetInfo:
        """What the study will remember of the images."""
        return DatasetInfo.from_data(self.data, self.settings.data)

    @property
    def checkpoint_identities(self) -> tuple[str, ...]:
        """What a checkpoint of the supernet may belong to; new ones belong to the first."""
        known = self.identity.fingerprint
        current = format_identity(self.space, self.settings, known[IMAGES], known["init_from"])
        if not self.study.settings_file.exists():
            return (current,)
        stored = read_settings(self.study.settings_file)
        # Earlier versions told images by their name too, and files by their paths.
        former = format_identity(self.space, stored, self.study.dataset().digest, stored.init_from)
        return (current, former)

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
            self.settings.ahead,
        )


def count_scored(settings: Settings, data: Data) -> int:
    """Return the validation images that every design is scored on."""
    return min(settings.validation_images, len(data.val))


def plan_search(request: SearchRequest) -> SearchPlan:
    """Check everything that can be wrong with a request before anything is written.

    Raises:
        RequestError: If something is; the message says what.
    """
    settings, study = request.settings, request.study_folder
    request.require_free_or_joined()
    budget = parse_budget(request.budget)
    declaration = load_declaration(settings.space)
    cluster = ray_cluster.survey(request.ray_address)
    allocation = allocate_workers(budget, cluster.cpus, cluster.gpus, where=cluster.where)
    url = request.storage_url
    request.require_storage_to_exist()
    preflight = examine_machine(study.folder, url, cluster, allocation)
    preflight.require()
    choose_side = side_within_scales(declaration) if settings.scale is None else None
    data = load_study_data(
        settings, study, request.source, request.recipe_test_crop, choose_side, request.images
    )
    is_asked = settings.image_size is not None
    resizing = None if is_asked else describe_resizing(data.summary, declaration.name)
    settings = replace(settings, test_crop=data.test_crop, image_size=side_to_keep(settings, data))
    if request.source is not None:
        request.source.require_images(data)
    has_begun = study.settings_file.exists()
    if request.config is None and request.source is None:
        if has_begun:
            stored = study.settings()
            settings = keep_former_defaults(settings, request.given, stored)
            settings = stored_recipes(settings, request.overrides, stored)
        else:
            gpus = allocation.workers if allocation.gpus_per_worker else 0
            settings = default_recipes(settings, request.overrides, data.image_size, gpus)
    if request.config is None:
        begun = study.settings() if has_begun else None
        settings = choose_ahead(settings, request.given, allocation.workers, begun)
    space = declaration.space(settings.scale, data.image_size, data.in_channels, len(data.class_names))
    teacher = find_teacher_of_supernet(settings, study, data)
    footprint: Footprint | None = None
    done, total = read_progress(study.supernet_file, verify=True)
    if settings.trains_supernet and not 0 < total <= done:
        keeps_recipes = has_begun or request.config is not None or request.source is not None
        settings, footprint = plan_memory(
            settings,
            space,
            len(data.train),
            allocation,
            cluster,
            is_stored=keeps_recipes,
            teacher_params=0 if teacher is None else teacher.params,
        )
    with offering_another_search(study, settings, request.budget):
        identity = study.check(settings, space, data)
    if settings.compile:
        require_compiler(allocation.device)
    if settings.supernet is not None and settings.needs_supernet:
        if settings.init_from:
            raise RequestError("--supernet gives weights that are trained already; leave --init-from out")
        read_supernet(space, settings.sharing, Path(settings.supernet))
    request.require_every_option_to_count()
    require_functions(settings.own_objectives, request.own.objectives)
    if settings.trains_supernet and not 0 < total <= done:
        request.own.require_step(settings.training_step)
        request.own.try_step(space.smallest, settings.recipe, taught=teacher is not None)
    if settings.needs_supernet:
        request.own.require_sendable()
    replace(study.database, url=url).check(identity, settings.goal)
    lost = _check_earlier_trials(study, request.own.objectives)
    # A search goes on with the latencies it began with, whatever became of the file they were read from.
    table = study.latency_file if study.latency_file.exists() else settings.latency_table
    latency = None if table is None else read_table(Path(table), space, settings.latency_runtime)
    if latency is None and settings.goal.needs_latency:
        parse_runtime(settings.latency_runtime, "--latency-runtime")
    scores = AnalyticScores(latency, costs_of(request.own.objectives))
    Limits(space, _known_part(settings.goal, latency), scores).require_possible()
    # Once training has begun its own checkpoint counts, and the files may be gone.
    trained = study.supernet_file.exists() or not settings.needs_supernet
    pretrained = () if trained else read_pretrained_starts(settings.init_from, space)
    preflight += examine_search(
        study.folder,
        space,
        data,
        cluster,
        allocation,
        trains=settings.trains_supernet,
        checkpoints=sum(
            path.exists() for path in (study.supernet_file, former_checkpoint(study.supernet_file))
        ),
    )
    preflight.require()
    return SearchPlan(
        settings,
        budget,
        allocation,
        cluster,
        declaration,
        space,
        data,
        study,
        url,
        identity,
        latency,
        pretrained,
        (
            *preflight.warnings,
            *lost,
            *(() if footprint is None else footprint.warnings),
            *(warn_of_small_set(count_scored(settings, data)) if settings.needs_supernet else ()),
        ),
        teacher,
        footprint,
        resizing,
        request.join,
        request.own,
    )


def _check_earlier_trials(study: Study, objectives: Sequence[Objective]) -> list[str]:
    """Read what an earlier run left: weights and trials; return a warning where trials are gone.

    Raises:
        RequestError: If something of it is damaged.
    """
    if not study.settings_file.exists():
        return []
    read_progress(study.supernet_file)
    records = study.records()
    if records:
        require_same_numbers(objectives, records[0].architecture, records[0].scores)
    if records or not study.front_trials():
        return []
    return [
        f"the {study.front_trials()} trials of this study are no longer in {study.url}; the search begins anew, "
        "with the supernet that is trained already"
    ]


def _known_part(goal: Goal, latency: LatencyTable | None) -> Goal:
    """Return a goal without limits on what is still to be measured, of designs or of latencies."""
    goal = goal.beforehand
    if latency is not None:
        return goal
    return replace(goal, constraints=tuple(one for one in goal.constraints if one[0] != "latency_ms"))
