"""Designs of a study trained by themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.api.data import find_origin
from nas.api.keywords import PathText, find_own
from nas.api.result import Retrained, SearchResult
from nas.api.session import format_call, session
from nas.data.dataset import Data
from nas.data.sources.own_dataset import Items
from nas.data.sources.source import Source
from nas.pipeline.models import plan_retraining, run_retraining
from nas.pipeline.resumable import resumable
from nas.report.trackers import parse_tracker
from nas.report.tracking import follow
from nas.runtime.callbacks import Callback, Callbacks
from nas.search.own_objectives import Objective
from nas.study.find import find_study
from nas.study.folder import Study
from nas.study.recipes import retraining_recipe
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from nas.training.training_step import TrainingStep, name_step
from search_spaces.architecture import Architecture
from search_spaces.errors import DataError, RequestError


@dataclass(frozen=True)
class RetrainRequest:
    """Which designs of a study are retrained, and how; nothing of it is checked yet.

    Args:
        top: How many designs of the search; None for one where no design is named.
        named: Designs by digest, published name, file or value.
        baselines: Whether the analogues of published designs are retrained as well.
        candidates: Of how many candidates ``top`` are chosen by training them alone; None for what the study says.
        from_scratch: Only from random weights.
        inherit: Only from the supernet's weights.
        epochs: How long, where the recipe is not to decide.
        recipe: Name or file of the recipe; None for the study's.
        teacher: What teaches beside the labels; None for the study's own, if it has one.
        compile: Whether blocks are compiled by region.
        budget: What may be used.
        images: The study's images where they were given as such; None where its settings say where they are.
        own: Functions of a Python program.
        track: Where metrics are sent to; None for nowhere.
        ray_address: Which Ray cluster is used; None for the one that is found.
    """

    top: int | None = None
    named: tuple[str | Architecture, ...] = ()
    baselines: bool = False
    candidates: int | None = None
    from_scratch: bool = False
    inherit: bool = False
    epochs: int | None = None
    recipe: str | None = None
    teacher: str | None = None
    compile: bool = False
    budget: str = "auto"
    images: Source | None = None
    own: OwnFunctions = NO_FUNCTIONS
    track: str | None = None
    ray_address: str | None = None

    def require_consistent(self) -> None:
        """Refuse what excludes one another.

        Raises:
            RequestError: If something does.
        """
        if self.named and self.top is not None and not self.baselines:
            raise RequestError(
                "--top and --arch exclude one another; --arch names the designs to retrain (--baselines takes both)"
            )
        for name, value in (("top", self.top), ("candidates", self.candidates), ("epochs", self.epochs)):
            if value is not None and value < 1:
                raise RequestError(f"--{name} must be at least 1, not {value}")
        if self.candidates is not None and ((self.named and not self.baselines) or self.inherit):
            other = "--inherit" if self.inherit else "--arch"
            raise RequestError(
                f"--candidates are trained from scratch to choose among them; leave it out with {other}"
            )
        if self.from_scratch and self.inherit:
            raise RequestError("--from-scratch and --inherit exclude one another; leave both out to do both")


def run_retrain(
    study: Study, request: RetrainRequest, command: Sequence[str], how_to_resume: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Retrain designs of a study, or go on with what of that is not done.

    Args:
        study: The study.
        request: Which designs, and how.
        command: The command line.
        how_to_resume: What to say where no command line resumes it.

    Returns:
        The results, best validation accuracy first, and how candidates were trained alone for them, or None.

    Raises:
        RequestError: If something is wrong with the request; nothing is written.
        Interrupted: If the user asked to stop; everything finished is stored.
    """
    request.require_consistent()
    tracker = None if request.track is None else parse_tracker(request.track)
    modes = ("scratch",) if request.from_scratch else ("inherit",) if request.inherit else None
    plan = plan_retraining(
        study,
        named=request.named,
        top=1 if request.top is None else request.top,
        modes=modes,
        budget=request.budget,
        baselines=request.baselines,
        teacher=request.teacher,
        candidates=request.candidates,
        images=request.images,
        own=request.own,
        ray_address=request.ray_address,
    )
    # Refused before anything is sent to a tracker.
    recipe = retraining_recipe(plan.study.settings(), request.recipe, request.epochs)
    with resumable(command, how_to_resume), follow(study, tracker):
        results = run_retraining(plan, recipe=recipe, compile=request.compile, command=command)
    return results, study.halving() if plan.spread else None


def retrain(
    study: SearchResult | PathText,
    *designs: str | Architecture,
    data: Data | Items | Mapping[str, Items] | None = None,
    top: int | None = None,
    baselines: bool = False,
    candidates: int | None = None,
    from_scratch: bool = False,
    inherit: bool = False,
    epochs: int | None = None,
    recipe: PathText | None = None,
    teacher: str | None = None,
    compile: bool = False,
    budget: str = "auto",
    callbacks: Sequence[Callback] = (),
    training_step: TrainingStep | None = None,
    objectives: Sequence[Objective] = (),
    track: str | None = None,
    ray_address: str | None = None,
    quiet: bool = False,
) -> list[Retrained]:
    """Train designs of a study by themselves, from scratch and from the supernet's weights; called again, it resumes.

    Args:
        study: What `search` returned, or the study's folder or name.
        *designs: Digests, published names, files or `Architecture`s; where there is none, what the search found.
            What is not of the study takes its images' size, channels and classes.
        data: The study's images, where it was given them as data sets; the study knows where others are.
        top: How many designs of the search; one where it is left out.
        baselines: Whether the analogues of published designs are retrained as well.
        candidates: Train so many designs alone and leave out the worse after a quarter and half of the epochs until
            ``top`` are left; as many as ``top``: the best of the front. What the study says, or four times ``top``.
        from_scratch: Only from random weights.
        inherit: Only from the supernet's weights.
        epochs: Epochs; those of the study's recipe where it is left out.
        recipe: Train by this recipe: a name that `nas recipes` lists, or a YAML file of that form.
        teacher: Network to learn from beside the labels; ``none`` for none; the study's where it is left out.
        compile: Whether blocks are compiled by region; needs a C++ compiler.
        budget: What may be used: ``auto``, ``8gpu``, ``2cpu``.
        callbacks: What is told of epochs, in this process.
        training_step: What is minimised, as of `search`; that of ``study`` where `search` returned it.
        objectives: Objectives of one's own that trained networks are scored by; those of ``study`` count anyway where
            `search` returned it.
        track: Send metrics to ``tensorboard``, ``mlflow`` or ``mlflow:URI`` as well.
        ray_address: Ray cluster to work on, as `nas search` takes it.
        quiet: Whether nothing is printed meanwhile.

    Returns:
        What was trained, best on the validation images first.

    Raises:
        RequestError: If something is wrong with the request; nothing is written.
        Interrupted: If the user asked to stop; everything finished is stored.
        WorkError: If the work failed.
    """
    with session(quiet=quiet):
        found = find_study(os.fspath(study.path if isinstance(study, SearchResult) else study))
        request = RetrainRequest(
            top,
            designs,
            baselines,
            candidates,
            from_scratch,
            inherit,
            epochs,
            None if recipe is None else os.fspath(recipe),
            teacher,
            compile,
            budget,
            _find_images(found, study, data),
            _find_functions(study, training_step, objectives, callbacks),
            track,
            ray_address,
        )
        call = format_call(
            "retrain", study=str(found.folder), top=top, budget=budget, ray_address=ray_address
        )
        results, _ = run_retrain(found, request, call, "the same call goes on with it")
    return [Retrained(found.folder, result) for result in results]


def _find_functions(
    study: object,
    training_step: TrainingStep | None,
    objectives: Sequence[Objective],
    callbacks: Sequence[Callback],
) -> OwnFunctions:
    """Return the functions that were given, and of others those by which the study was searched here."""
    name_step(training_step)
    known = study.own if isinstance(study, SearchResult) else NO_FUNCTIONS
    step = known.training_step if training_step is None else training_step
    return OwnFunctions(find_own([*known.objectives, *objectives]), step, Callbacks(tuple(callbacks)))


def _find_images(
    found: Study, study: object, data: Data | Items | Mapping[str, Items] | None
) -> Source | None:
    """Return the study's images as they were given; None where its settings say where they are.

    Raises:
        RequestError: If those given are others, or are no images.
    """
    if data is None:
        return study.images if isinstance(study, SearchResult) else None
    if isinstance(data, str):
        raise DataError(
            f"data {data!r} says where images are, which study {found.folder} knows; leave it out"
        )
    if isinstance(data, Data):
        found.require()
        found.require_images(data)
    return find_origin(data).source
