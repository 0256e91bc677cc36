"""What follows a search: designs of its front are retrained by themselves and exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.data.dataset import Data
from nas.export.model_card import accuracy_metrics
from nas.export.writer import export_model
from nas.pipeline.plan import SearchPlan, load_study_data
from nas.runtime.console import log
from nas.runtime.device import planned_device
from nas.runtime.files import require_writable
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import Accuracy
from nas.study.find import find_architecture
from nas.study.folder import Study
from nas.training.compiled import require_compiler
from nas.training.subnet import MODES, retrain, trained_network
from nas.training.supernet_checkpoint import read_supernet
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError


@dataclass(frozen=True)
class RetrainingPlan:
    """A retraining that was found to be possible; nothing is written yet.

    Args:
        study: The study.
        designs: What to train.
        modes: From which weights: ``scratch``, ``inherit`` or both.
        data: The study's images.
        allocation: What each training gets.
        cluster: Where they run.
    """

    study: Study
    designs: list[Architecture]
    modes: tuple[str, ...]
    data: Data
    allocation: WorkerAllocation
    cluster: Cluster


def plan_retraining(
    study: Study,
    *,
    named: Sequence[str] = (),
    top: int = 1,
    modes: tuple[str, ...] = MODES,
    budget: str = "auto",
) -> RetrainingPlan:
    """Check everything that can be wrong with a retraining before anything is written.

    Args:
        study: The study.
        named: Designs by digest, published name or file; where there is none, the front is retrained.
        top: How many designs of the front, best first.
        modes: From which weights.
        budget: What may be used.

    Raises:
        RequestError: If something is wrong; the message says what.
    """
    study.require()
    parsed, cluster = parse_budget(budget), ray_cluster.survey()
    allocation = allocate_workers(parsed, cluster.cpus, cluster.gpus, where=cluster.where)
    if named:
        designs = [find_architecture(text, study) for text in named]
    else:
        designs = [Architecture.from_json(entry["architecture"]) for entry in study.front()[:top]]
    _require_retrainable(study, designs, modes)
    return RetrainingPlan(study, designs, modes, load_study_data(study.settings()), allocation, cluster)


def plan_front_retraining(plan: SearchPlan, designs: list[Architecture]) -> RetrainingPlan:
    """Return the retraining of designs that a search has just found."""
    return RetrainingPlan(plan.study, designs, MODES, plan.data, plan.allocation, plan.cluster)


def _require_retrainable(study: Study, designs: Sequence[Architecture], modes: Sequence[str]) -> None:
    """Check that designs take the study's images, and lie in its space where they inherit its weights.

    Raises:
        RequestError: If one does not.
    """
    space = study.space()
    for design in designs:
        channels, classes = design.in_channels, design.num_classes
        if (channels, classes) != (space.in_channels, space.num_classes):
            raise RequestError(
                f"design {design.digest} is for {channels} channels and {classes} classes but the study's images "
                f"have {space.in_channels} and {space.num_classes}; choose a design made for them"
            )
        if "inherit" in modes:
            space.values(design)


def run_retraining(
    plan: RetrainingPlan, *, epochs: int | None = None, compile: bool = False
) -> list[dict[str, Any]]:
    """Retrain designs of a study; return the results, best validation accuracy first.

    Args:
        plan: What to do.
        epochs: How long, where the study's recipe is not to decide.
        compile: Whether blocks are compiled by region; they are anyway if the study says so.

    Raises:
        RequestError: If they should be and there is no compiler.
        Interrupted: If the user asked to stop; everything finished is stored.
    """
    study, settings = plan.study, plan.study.settings()
    recipe = settings.retraining if epochs is None else replace(settings.retraining, epochs=epochs)
    log.to(study.log_file)
    ray_cluster.start(plan.cluster)
    compile = compile or settings.compile
    if compile:
        require_compiler(planned_device(plan.allocation.device))
    inherited = {}
    if "inherit" in plan.modes:
        weights = Path(settings.supernet) if settings.supernet else study.supernet_file
        supernet = read_supernet(study.space(), settings.sharing, weights)
        inherited = {design.digest: supernet.extract(design).state_dict() for design in plan.designs}
    return retrain(study, plan.designs, plan.modes, recipe, plan.data, inherited, plan.allocation, compile)


def find_best_result(study: Study, digest: str | None = None) -> dict[str, Any]:
    """Return the best result of retraining, or the best of one design.

    Raises:
        RequestError: If there is none.
    """
    study.require()
    results = [result for result in study.results() if digest is None or result["digest"] == digest]
    if not results:
        what = "no retrained design" if digest is None else f"no retrained design '{digest}'"
        raise RequestError(f"study {study.folder} has {what}; run: nas retrain {study.folder}")
    return results[0]


def require_export_folder(folder: Path) -> None:
    """Check that an export may be written to ``folder``: it is free, or holds an export to replace.

    Raises:
        RequestError: If it may not.
    """
    require_writable(folder)
    if folder.exists() and not (folder / "verification.json").exists() and any(folder.iterdir()):
        raise RequestError(f"--out {folder} is not empty and holds no export; choose another folder")


def export_result(
    study: Study, result: dict[str, Any], folder: Path, formats: tuple[str, ...]
) -> dict[str, float]:
    """Export a retrained design; return the measured differences by file."""
    design, dataset = Architecture.from_json(result["architecture"]), study.dataset()
    metrics = {
        **accuracy_metrics("test", Accuracy.from_result(result, "test")),
        **accuracy_metrics("validation", Accuracy.from_result(result, "val")),
        "trained": "from scratch" if result["mode"] == "scratch" else "from the supernet's weights",
        "images": dataset.data,
    }
    differences = export_model(
        trained_network(study, result),
        design,
        folder,
        name=f"{study.name}-{design.digest}",
        mean=dataset.mean,
        std=dataset.std,
        class_names=dataset.class_names,
        metrics=metrics,
        provenance=provenance(study.settings().seed, []),
        formats=formats,
    )
    largest = ", ".join(f"{file} {value:.1e}" for file, value in differences.items())
    log.say(f"exported {design.digest} to {folder}; largest differences to the subnet: {largest}")
    return differences
