"""A search from its request to its report: training, searching, and what follows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from nas.api.data import Images, find_origin, to_keywords
from nas.api.keywords import PathText, SearchSettings, find_own, read_settings
from nas.api.result import SearchResult
from nas.api.session import format_call, session
from nas.pipeline.candidates import count_candidates
from nas.pipeline.exports import export_result
from nas.pipeline.following import Following
from nas.pipeline.joining import join_search
from nas.pipeline.models import plan_retraining_after, run_retraining
from nas.pipeline.plan import SearchPlan, plan_search
from nas.pipeline.plan_description import describe_plan
from nas.pipeline.plan_json import plan_to_json
from nas.pipeline.request import SearchRequest
from nas.pipeline.resumable import resumable
from nas.pipeline.run import run_search
from nas.pipeline.time_estimate import TimeEstimate, estimate_time
from nas.ranking.agreement import LEAST_DESIGNS
from nas.report.study_report import write_report
from nas.report.trackers import TrackerSpec, parse_tracker
from nas.report.tracking import follow
from nas.runtime.callbacks import Callback, Callbacks
from nas.runtime.console import log
from nas.runtime.extras import require_package
from nas.runtime.lock import LockHeldError
from nas.search.own_objectives import Objective
from nas.search.trial_store import TrialRecord
from nas.study.designs import best_of_search
from nas.training.own_functions import OwnFunctions
from nas.training.training_step import TrainingStep, name_step
from search_spaces.errors import RequestError

_OWN = ("space", "data", "budget", "study", "storage", "storage_file", "config", "from_study")
_FOLLOWING = (
    *(
        "constraints",
        "callbacks",
        "training_step",
        "gate",
        "retrain",
        "baselines",
        "export",
        "join",
        "ray_address",
        "quiet",
    ),
)


@dataclass(frozen=True)
class SearchOutcome:
    """What a search and what followed it gave.

    Args:
        front: The Pareto front, best first.
        results: Results of retraining, best validation accuracy first.
        exported: Folder of the exported model, or None.
        halving: How candidates were trained alone for it, or None where the best of the front were taken.
    """

    front: list[TrialRecord]
    results: list[dict[str, Any]]
    exported: Path | None
    halving: dict[str, Any] | None


@dataclass(frozen=True)
class SearchJob:
    """A search, and what follows it, that was found to be possible; nothing is written yet.

    Args:
        plan: The search.
        following: What comes before and after it.
        tracker: Where metrics are sent to, or None.
    """

    plan: SearchPlan
    following: Following
    tracker: TrackerSpec | None = None

    def describe(self) -> list[str]:
        """Return it in lines for people."""
        return [*describe_plan(self.plan), *self.following.describe(self.plan)]

    def estimate(self) -> TimeEstimate:
        """Return how long it will take, from a few steps that are timed."""
        return estimate_time(self.plan, self.following)

    def to_json(self, time: TimeEstimate) -> dict[str, Any]:
        """Return it as plain data."""
        return plan_to_json(self.plan, self.following, time)

    def run(self, command: Sequence[str], how_to_resume: str | None = None) -> SearchOutcome:
        """Train, search, retrain, export and report, or go on with what of that is not done.

        Args:
            command: The command line, for the study's provenance.
            how_to_resume: What to say where no command line resumes it.

        Raises:
            Interrupted: If the user asked to stop; everything finished is stored.
            NasError: If something fails; the sentence says what.
        """
        plan, following, study = self.plan, self.following, self.plan.study
        results: list[dict[str, Any]] = []
        exported, halving = None, None
        with resumable(command, how_to_resume), contextlib.ExitStack() as stack:
            try:
                stack.enter_context(study.lock.hold(command))
            except LockHeldError:
                if not plan.join:
                    raise
                return SearchOutcome(join_search(plan, command), [], None, None)
            stack.enter_context(follow(study, self.tracker))
            front = run_search(plan, command, following.gate)
            if following.retrain:
                retraining = plan_retraining_after(plan, following.retrain, baselines=following.baselines)
                results = run_retraining(retraining, command=command)
                halving = study.halving() if retraining.spread else None
                if following.export:
                    best = best_of_search(study, results)
                    exported = study.export_folder(best["digest"])
                    export_result(study, best, exported, ("pt2", "onnx"), command=command)
            write_report(study)
        return SearchOutcome(front, results, exported, halving)


def prepare_search(request: SearchRequest, following: Following, track: str | None = None) -> SearchJob:
    """Check everything that can be wrong with a search and what follows it before anything is written.

    Args:
        request: What was asked for.
        following: What comes before and after the search.
        track: Where metrics are sent to, as it is typed; None for nowhere.

    Raises:
        RequestError: If something is; the message says what.
    """
    retrain, gate = following.retrain, following.gate
    tracker = None if track is None else parse_tracker(track)
    if tracker is not None and request.join:
        raise RequestError(
            "--track is of whoever began the search, and sends what all do; leave it out with --join"
        )
    if following.export and not retrain:
        raise RequestError("--export exports a retrained design; add --retrain 1")
    if following.baselines and not retrain:
        raise RequestError("--baselines are retrained beside designs of the front; add --retrain 1")
    if "candidates" in request.given and not retrain:
        raise RequestError("--candidates are those of which --retrain chooses; add --retrain 1")
    if following.export:
        require_package("onnxruntime", "--export")
    if request.join and (retrain or gate is not None):
        option = "--retrain" if retrain else "--gate"
        raise RequestError(f"--join shares a search and nothing else; leave {option} out, or --join")
    plan = plan_search(request)
    if retrain:
        request.own.require_step(plan.settings.training_step)
    if gate is not None and not plan.settings.needs_supernet:
        raise RequestError("--gate judges a supernet, and this search trains none; leave it out")
    if gate is not None and plan.space.size < LEAST_DESIGNS:
        raise RequestError(
            f"--gate judges an order, which takes {LEAST_DESIGNS} designs or more, and of space {plan.space.name} "
            f"there are {plan.space.size}; leave it out"
        )
    count_candidates(plan.settings, retrain, request.given.get("candidates"))
    return SearchJob(plan, following, tracker)


def search(
    space: PathText | None = None,
    data: Images | None = None,
    *,
    budget: str = "auto",
    study: PathText | None = None,
    storage: str | None = None,
    storage_file: PathText | None = None,
    config: PathText | None = None,
    from_study: PathText | None = None,
    constraints: Sequence[Objective] = (),
    callbacks: Sequence[Callback] = (),
    training_step: TrainingStep | None = None,
    gate: float | None = None,
    retrain: int = 0,
    baselines: bool = False,
    export: bool = False,
    join: bool = False,
    track: str | None = None,
    ray_address: str | None = None,
    quiet: bool = False,
    **settings: Unpack[SearchSettings],
) -> SearchResult:
    """Train a supernet, search it, and return what was found; called again, it resumes.

    Ctrl-C, or the stop button of a notebook, saves what is done; the same call goes on with it. Whatever `nas search`
    takes as an option is a keyword here, checked in the same way.

    Args:
        space: Name of a space, or a YAML file; ``twins_cswin`` where it is left out.
        data: ``mnist5k``, ``folder:PATH``, a URL, a name that timm knows, what `load_data` returned, a data set of your
            own, or a mapping of such called ``train``, ``validation`` and ``test``; ``mnist5k`` where it is left out.
        budget: What may be used: ``auto``, ``8gpu``, ``2cpu``; optionally ``,12h`` and ``,500trials``.
        study: Folder, or name under ``studies/``; the names of space and images where it is left out.
        storage: Optuna storage URL, without a password.
        storage_file: File with the storage URL, readable by its owner alone.
        config: A ``study.yaml`` with the defaults of all settings.
        from_study: A study whose trained supernet is searched again, in a study of its own.
        constraints: Objectives of one's own that have a limit and are not optimised; built-in ones are ``max_macs`` and
            the like.
        callbacks: What is told of steps, trials and epochs, in this process.
        training_step: What the supernet and retrained designs minimise: a function of a network and a `TrainingBatch`
            that returns a loss, which workers call; the recipe's loss where it is left out.
        gate: Kendall's tau that is asked of the supernet's order of 16 designs, which are trained alone first.
        retrain: Designs to retrain alone, to the end.
        baselines: Whether the analogues of the published designs are retrained as well.
        export: Whether the best retrained design is exported.
        join: Whether the search is shared with those who search the study already, instead of being refused.
        track: Send metrics to ``tensorboard``, ``mlflow`` or ``mlflow:URI`` as well.
        ray_address: Ray cluster to work on: ``HOST:PORT``, ``auto`` for one that ``ray start`` made on this machine,
            ``local`` for none; what ``RAY_ADDRESS`` says where it is left out.
        quiet: Whether nothing is printed meanwhile; the study's ``log.txt`` has it all the same.
        **settings: Settings of the search, see `SearchSettings`.

    Raises:
        RequestError: If something is wrong with the request; nothing is written.
        Interrupted: If the user asked to stop.
        WorkError: If the work failed.

    Example:
        >>> from nas import search
        >>> found = search("twins_cswin", "mnist5k", budget="2cpu,64trials", retrain=1)  # doctest: +SKIP
        >>> found.best.architecture  # doctest: +SKIP
    """
    with session(quiet=quiet):
        origin = None if data is None else find_origin(data)
        is_known = from_study is not None and origin is not None and origin.source is not None
        # The study whose supernet is searched again says what its images are; those given are compared with them.
        images = {} if origin is None or is_known else to_keywords(origin)
        keywords = {"space": space, **images, **settings}
        own = find_own(settings.get("objective"), constraints)
        given = read_settings(keywords, (*_OWN, *_FOLLOWING))
        if own:
            given["own_objectives"] = tuple(each.declaration for each in own)
        if (step := name_step(training_step)) is not None:
            given["training_step"] = step
        request = SearchRequest(
            given,
            None if config is None else Path(config),
            budget,
            None if study is None else os.fspath(study),
            storage,
            None if storage_file is None else Path(storage_file),
            None if from_study is None else os.fspath(from_study),
            None if origin is None else origin.source,
            join,
            OwnFunctions(own, training_step, Callbacks(tuple(callbacks))),
            ray_address,
        )
        job = prepare_search(request, Following(retrain, baselines, export, gate), track)
        for line in job.describe():
            log.say(line)
        call = format_call(
            "search", **keywords, budget=budget, study=study, from_study=from_study, ray_address=ray_address
        )
        job.run(call, "the same call goes on with it")
    return SearchResult(job.plan.study, request.images, request.own)
