"""What follows a search: designs of its front are retrained by themselves and exported."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.ray_cluster import Cluster
from nas.data.dataset import Data
from nas.data.sources.source import Source
from nas.export.model_card import accuracy_metrics
from nas.export.options import DEFAULT_OPTIONS, FileOptions
from nas.export.writer import export_model
from nas.pipeline.candidates import choose_candidates, choose_to_halve, to_candidates
from nas.pipeline.export_samples import load_samples
from nas.pipeline.images import load_study_data
from nas.pipeline.plan import SearchPlan
from nas.pipeline.preflight import examine_machine, examine_retraining
from nas.pipeline.retraining_memory import require_memory
from nas.pipeline.teachers import describe_teacher, find_teacher
from nas.pipeline.teaching import prepare_teacher, with_known_accuracy
from nas.runtime.callbacks import NO_CALLBACKS, Callbacks
from nas.runtime.console import log, progress_callback
from nas.runtime.files import require_writable, sweep_scratch
from nas.runtime.provenance import provenance
from nas.runtime.uncertainty import Accuracy
from nas.search.halving import Spread
from nas.search.loop import analytic_costs
from nas.study.designs import Design, best_of_search, describe_origin
from nas.study.folder import Study
from nas.study.recipe import Recipe, for_params
from nas.study.time_sheet import record_phase
from nas.training.compiled import require_compiler
from nas.training.halving import halve
from nas.training.retraining import Candidate, Trainer, retrain
from nas.training.retraining_result import trained_network
from nas.training.stored_answers import require_to_fit
from nas.training.stored_logits import read_stored_images
from nas.training.supernet_checkpoint import read_supernet
from nas.training.teacher import Teacher
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError


@dataclass(frozen=True)
class RetrainingPlan:
    """A retraining that was found to be possible; nothing is written yet.

    Args:
        study: The study.
        candidates: What to train, and from which weights.
        data: The study's images.
        allocation: The workers that the trainings share.
        cluster: Where they run.
        teacher: What teaches beside the labels, or None.
        spread: Candidates of which a halving leaves ``keep``, beside the others.
        keep: Designs that it leaves.
        best_inherits: Whether the best of those is also trained from the supernet's weights.
        callbacks: What a program is told meanwhile.
    """

    study: Study
    candidates: list[Candidate]
    data: Data
    allocation: WorkerAllocation
    cluster: Cluster
    teacher: Teacher | None = None
    spread: tuple[Spread, ...] = ()
    keep: int = 0
    best_inherits: bool = True
    callbacks: Callbacks = NO_CALLBACKS

    @property
    def architectures(self) -> list[Architecture]:
        """Every design that is trained, however long."""
        return [each.architecture for each in self.candidates] + [
            each.trial.architecture for each in self.spread
        ]


def plan_retraining(
    study: Study,
    *,
    named: Sequence[str | Architecture] = (),
    top: int = 1,
    modes: tuple[str, ...] | None = None,
    budget: str = "auto",
    baselines: bool = False,
    teacher: str | None = None,
    candidates: int | None = None,
    images: Source | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
    ray_address: str | None = None,
) -> RetrainingPlan:
    """Check everything that can be wrong with a retraining before anything is written.

    Args:
        study: The study.
        named: Designs by digest, published name, file or value; where there is none, what the search found is
            retrained.
        top: How many designs of the search.
        modes: From which weights; None leaves it to each design.
        budget: What may be used.
        baselines: Whether the analogues of published designs are retrained as well.
        teacher: What teaches beside the labels, as ``--teacher`` takes it; None for the study's own, if it has one.
        candidates: Of how many candidates ``top`` are chosen by training them alone; None for what the study says. If
            they are as many, or only inherit, they are the best of the front.
        images: The study's images where they were given as such; None where its settings say where they are.
        callbacks: What a program is told meanwhile.
        ray_address: Which Ray cluster is used; None for the one that is found.

    Raises:
        RequestError: If something is wrong; the message says what.
    """
    study.require()
    study.lock.require_free()
    parsed, cluster = parse_budget(budget), ray_cluster.survey(ray_address)
    if parsed.trials is not None or parsed.seconds is not None:
        raise RequestError(
            f"--budget {budget}: a retraining is as long as its recipe says; leave the limits of time and trials out"
        )
    allocation = allocate_workers(parsed, cluster.cpus, cluster.gpus, where=cluster.where)
    from_front = not named or baselines
    spread: list[Spread] = []
    if from_front and modes != ("inherit",):
        study.front()  # says so where there is none yet
        spread = choose_to_halve(study, top, candidates)
    chosen = choose_candidates(study, named=named, top=0 if spread else top, modes=modes, baselines=baselines)
    preflight = examine_machine(study.folder, None, cluster, allocation)
    designs = [each.architecture for each in chosen] + [each.trial.architecture for each in spread]
    preflight += examine_retraining(
        study.folder,
        [analytic_costs(design)["params"] for design in designs],
        max((len(each.modes) for each in chosen), default=1),
    )
    preflight.require()
    for warning in preflight.warnings:
        log.say(f"warning   {warning}")
    data = load_study_data(study.settings(), study, images=images)
    study.require_images(data)
    plan = RetrainingPlan(
        study, chosen, data, allocation, cluster, None, tuple(spread), top, modes is None, callbacks
    )
    return _with_teacher(plan, teacher or study.settings().teacher)


def _with_teacher(plan: RetrainingPlan, text: str | None) -> RetrainingPlan:
    """Return a retraining with its teacher, and say what that costs; as it is where nobody teaches."""
    teacher = find_teacher(text, plan.data, plan.study)
    if teacher is not None and plan.architectures:
        teacher = with_known_accuracy(teacher, plan.study, plan.data)
        macs = [analytic_costs(design)["macs"] for design in plan.architectures]
        log.say(f"teacher   {describe_teacher(teacher, sum(macs) / len(macs))}")
    return replace(plan, teacher=teacher)


def plan_retraining_after(plan: SearchPlan, top: int, *, baselines: bool = False) -> RetrainingPlan:
    """Return the retraining of designs that a search has just found.

    Args:
        plan: The search.
        top: Designs to train to the end.
        baselines: Whether the analogues of published designs are trained too.
    """
    spread = choose_to_halve(plan.study, top)
    chosen = choose_candidates(plan.study, top=0 if spread else top, baselines=baselines)
    retraining = RetrainingPlan(
        plan.study,
        chosen,
        plan.data,
        plan.allocation,
        plan.cluster,
        None,
        tuple(spread),
        top,
        callbacks=plan.callbacks,
    )
    return _with_teacher(retraining, plan.settings.teacher)


def run_retraining(
    plan: RetrainingPlan,
    *,
    recipe: Recipe | None = None,
    compile: bool = False,
    command: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Retrain designs of a study; return the results, best validation accuracy first.

    Args:
        plan: What to do.
        recipe: How they are trained; None for the study's.
        compile: Whether blocks are compiled by region; they are anyway if the study says so.
        command: The command line, for others who want to work on the study meanwhile.

    Raises:
        RequestError: If they should be and there is no compiler, a design does not fit its device, or somebody else
            works on the study.
        Interrupted: If the user asked to stop; everything finished is stored.
    """
    numbers = plan.study.settings().retraining if recipe is None else recipe
    if plan.teacher is not None:
        require_to_fit(numbers, "retraining", len(plan.data.train), len(plan.data.class_names))
    _require_memory(plan, numbers)
    with plan.study.lock.hold(command):
        return _run_retraining(plan, numbers, compile, command)


def _require_memory(plan: RetrainingPlan, recipe: Recipe) -> None:
    """Refuse designs that do not fit their device, but for those that are trained already."""
    finished = {
        (result["digest"], result["mode"]): {**asdict(Recipe()), **result["recipe"]}
        for result in plan.study.results()
    }
    waiting = []
    for each in plan.candidates:
        design = each.architecture
        own = asdict(for_params(recipe, costs(design).params))
        waiting += [design for mode in each.modes if finished.get((design.digest, mode)) != own]
    waiting += [each.trial.architecture for each in plan.spread]
    teacher_params = 0 if plan.teacher is None else plan.teacher.params
    require_memory(waiting, recipe, len(plan.data.train), plan.allocation, plan.cluster, teacher_params)


def _run_retraining(
    plan: RetrainingPlan, recipe: Recipe, compile: bool, command: Sequence[str]
) -> list[dict[str, Any]]:
    """Retrain in a study's folder that is locked."""
    study, settings = plan.study, plan.study.settings()
    log.to(study.log_file)
    sweep_scratch(study.folder)
    ray_cluster.start(plan.cluster)
    compile = compile or settings.compile
    if compile:
        require_compiler(plan.allocation.device)
    one_machine = not plan.cluster.running
    teacher = prepare_teacher(
        plan.teacher, recipe, study, plan.data, plan.allocation, one_machine=one_machine
    )
    trainer = Trainer(
        study, recipe, plan.data, plan.allocation, compile, one_machine, teacher, plan.callbacks
    )
    with record_phase(study.folder, "retraining", plan.allocation):
        return _train_candidates(plan, trainer, command)


def _train_candidates(plan: RetrainingPlan, trainer: Trainer, command: Sequence[str]) -> list[dict[str, Any]]:
    study = plan.study
    if not plan.spread:
        return retrain(trainer, plan.candidates, _inherited_weights(study, plan.candidates))
    kept = halve(trainer, plan.spread, study.goal(), plan.keep, command)
    others = _inherited_weights(study, plan.candidates)
    results = retrain(trainer, [*(Candidate(each, ("scratch",)) for each in kept), *plan.candidates], others)
    if plan.best_inherits:
        (heir,) = to_candidates(study, [_best_of(kept, results)], None)
        if "inherit" in heir.modes:
            heir = Candidate(heir.design, ("inherit",))
            results += retrain(trainer, [heir], _inherited_weights(study, [heir]))
    return sorted(results, key=lambda result: -result["val_top1"])


def _best_of(designs: Sequence[Design], results: Sequence[Mapping[str, Any]]) -> Design:
    """Return the design whose result comes first."""
    by_digest = {design.architecture.digest: design for design in designs}
    return next(by_digest[result["digest"]] for result in results if result["digest"] in by_digest)


def _inherited_weights(study: Study, candidates: Sequence[Candidate]) -> dict[str, dict[str, Tensor]]:
    """Return the supernet's weights by digest, of the candidates that inherit them."""
    heirs = [each.architecture for each in candidates if "inherit" in each.modes]
    if not heirs:
        return {}
    settings = study.settings()
    weights = Path(settings.supernet) if settings.supernet else study.supernet_file
    supernet = read_supernet(study.space(), settings.sharing, weights)
    return {design.digest: supernet.extract(design).state_dict() for design in heirs}


def find_best_result(study: Study, digest: str | None = None, mode: str | None = None) -> dict[str, Any]:
    """Return the best result of retraining a design that the search proposed, or the best of one design.

    Args:
        study: The study.
        digest: The design; None for what the search proposed.
        mode: Which of `MODES` it was trained in; None for any.

    Raises:
        RequestError: If there is none.
    """
    study.require()
    results = [
        result
        for result in study.results()
        if digest in (None, result["digest"]) and mode in (None, result["mode"])
    ]
    if not results:
        named = "" if digest is None else f" '{digest}'"
        command = shlex.join(
            ["nas", "retrain", str(study.folder), *([] if digest is None else ["--arch", digest])]
        )
        raise RequestError(f"study {study.folder} has no retrained design{named}; run: {command}")
    return best_of_search(study, results)


def require_export_folder(folder: Path, study: Study | None = None) -> None:
    """Check that an export may be written to ``folder``: it is free, or holds an export to replace.

    Args:
        folder: Where to write.
        study: The study that the model is of, whose own files are not to be mixed with it.

    Raises:
        RequestError: If it may not.
    """
    require_writable(folder)
    if study is not None:
        inside, own = folder.resolve(), study.folder.resolve()
        if inside.is_relative_to(own) and not inside.is_relative_to(own / "exports"):
            raise RequestError(
                f"--out {folder} lies among the files of the study; choose a folder in {study.folder / 'exports'} or "
                "outside the study"
            )
    if folder.exists() and not (folder / "verification.json").exists() and any(folder.iterdir()):
        raise RequestError(f"--out {folder} is not empty and holds no export; choose another folder")


def _describe_design(result: Mapping[str, Any]) -> str:
    """Return what kind of image classifier a result is of, for the model card."""
    origin = describe_origin(result)
    if result.get("published"):
        return f"of the design {result['origin']}, fitted to its images and trained on them"
    if origin:
        return f"whose attention design starts a neural architecture search ({origin})"
    return "whose attention design was found by neural architecture search"


def _describe_teacher(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what the model card says of who taught a result; nothing where nobody did."""
    taught_by = result.get("teacher")
    if taught_by is None:
        return {}
    known = {"teacher": f"{taught_by['name']} ({taught_by['digest'][:12]})"}
    if "val_top1" in taught_by:
        known["teacher's top-1 on the validation images"] = str(Accuracy.from_result(taught_by, "val"))
    return known


def export_result(
    study: Study,
    result: dict[str, Any],
    folder: Path,
    formats: tuple[str, ...],
    options: FileOptions = DEFAULT_OPTIONS,
    *,
    command: Sequence[str],
) -> dict[str, float]:
    """Export a retrained design, by a command line or a call; return the measured differences by file."""
    design, dataset = Architecture.from_json(result["architecture"]), study.dataset()
    metrics = {
        **accuracy_metrics("test", Accuracy.from_result(result, "test")),
        **accuracy_metrics("validation", Accuracy.from_result(result, "val")),
        "trained": "from scratch" if result["mode"] == "scratch" else "from the supernet's weights",
        "images": dataset.data,
        **_describe_teacher(result),
    }
    network = trained_network(study, result)
    images = read_stored_images(study.retraining_folder(design.digest, result["mode"]))
    samples = load_samples(study) if options.precisions else None
    with progress_callback("exporting") as on_progress:
        differences = export_model(
            network,
            design,
            folder,
            name=f"{study.name}-{design.digest}",
            mean=dataset.mean,
            std=dataset.std,
            class_names=dataset.class_names,
            reading=dataset.reading,
            test_crop=dataset.test_crop,
            metrics=metrics,
            provenance=provenance(study.settings().seed, command),
            formats=formats,
            options=options,
            images=images if images is not None and len(images) > 1 else None,
            samples=samples,
            description=_describe_design(result),
            on_progress=on_progress,
        )
    largest = ", ".join(f"{file} {value:.1e}" for file, value in differences.items())
    log.say(f"exported {design.digest} to {folder}; largest differences to the subnet: {largest}")
    return differences
