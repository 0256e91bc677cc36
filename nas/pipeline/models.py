"""What follows a search: designs of its front are retrained by themselves."""

from __future__ import annotations

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
from nas.pipeline.candidates import choose_candidates, choose_to_halve, to_candidates
from nas.pipeline.images import load_study_data
from nas.pipeline.plan import SearchPlan
from nas.pipeline.preflight import examine_machine, examine_retraining
from nas.pipeline.retraining_memory import require_memory
from nas.pipeline.teachers import describe_teacher, find_teacher
from nas.pipeline.teaching import prepare_teacher, with_known_accuracy
from nas.runtime.console import log
from nas.runtime.files import sweep_scratch
from nas.search.halving import Spread
from nas.search.loop import analytic_costs
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe, for_params
from nas.study.time_sheet import record_phase
from nas.training.compiled import require_compiler
from nas.training.halving import halve
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from nas.training.retraining import Candidate, Trainer, retrain
from nas.training.stored_answers import require_to_fit
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
        own: Functions of a Python program.
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
    own: OwnFunctions = NO_FUNCTIONS

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
    own: OwnFunctions = NO_FUNCTIONS,
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
        own: Functions of a Python program.
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
        study, chosen, data, allocation, cluster, None, tuple(spread), top, modes is None, own
    )
    return _with_teacher(plan, teacher or study.settings().teacher)


def _require_functions(plan: RetrainingPlan, recipe: Recipe) -> None:
    """Check that a retraining has the training step of its study, and that it works.

    Args:
        plan: The retraining.
        recipe: How designs are trained.

    Raises:
        RequestError: If it has not, or it does not.
    """
    own, designs, settings = plan.own, plan.architectures, plan.study.settings()
    own.require_step(settings.training_step)
    given = {each.name for each in own.objectives}
    if missing := [each.name for each in settings.own_objectives if each.name not in given]:
        log.say(
            f"warning   {', '.join(missing)}: computed by functions of a Python program, so that networks that are "
            "trained here are not scored by it; nas.retrain(objectives=...) does"
        )
    own.require_sendable()
    if designs:
        own.try_step(designs[0], recipe, taught=plan.teacher is not None)


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
        own=plan.own,
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
    _require_functions(plan, numbers)
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
    trainer = Trainer(study, recipe, plan.data, plan.allocation, compile, one_machine, teacher, plan.own)
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
