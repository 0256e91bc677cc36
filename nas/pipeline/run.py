"""The main job: train the supernet of a plan, and search it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nas.cluster import ray_cluster
from nas.cluster.study_files import in_borrowed_folder, lending
from nas.cluster.team import run_distributed
from nas.cluster.teams import allocate_team, team_sizes
from nas.evaluation.population import Population, payload_from_data
from nas.latency.measure import measure_as_rank, measure_table, usual_conditions
from nas.latency.runtime_names import parse_runtime
from nas.latency.table import LatencyTable
from nas.pipeline.gate import check_order
from nas.pipeline.plan import SearchPlan
from nas.pipeline.plan_description import describe_plan
from nas.pipeline.teaching import prepare_teacher
from nas.runtime.console import bar, duration, log, progress_callback, quantity
from nas.runtime.device import planned_device
from nas.runtime.files import sweep_scratch, write_json
from nas.runtime.lock import Holder
from nas.runtime.uncertainty import Accuracy
from nas.search.evaluations import evaluate_nothing
from nas.search.lease import Lease
from nas.search.limits import Limits
from nas.search.loop import Search, pareto_records
from nas.search.own_objectives import measures_of
from nas.search.proposers import do_nothing
from nas.search.ties import with_images
from nas.search.trial_store import Store, TrialRecord
from nas.study.attributes import write_attributes
from nas.study.time_sheet import record_phase
from nas.study.trial_table import TrialTable
from nas.training.former_checkpoint import restore_checkpoint
from nas.training.supernet import SupernetTask, count_shards, steps_per_epoch, train_rank
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.supernet_progress import TrainingProgress, progress_bar
from nas.training.training_step import recipe_step
from search_spaces.errors import WorkError
from search_spaces.named_designs import initial_designs
from supernet.supernet import Supernet


def run_search(plan: SearchPlan, command: Sequence[str], gate: float | None = None) -> list[TrialRecord]:
    """Train the supernet and search; return the Pareto front, best first.

    Args:
        plan: What to do.
        command: The command line, for the study's provenance.
        gate: Kendall's tau that is asked of the supernet's order before it is searched, or None.

    Raises:
        Interrupted: If the user asked to stop; everything finished is stored.
        StudyError: If somebody else works on the study.
        RequestError: If no design keeps the limits on latencies that were measured only now.
        WorkError: If no design could be evaluated.
    """
    with plan.study.lock.hold(command):
        return _run_search(plan, command, gate)


def _run_search(plan: SearchPlan, command: Sequence[str], gate: float | None) -> list[TrialRecord]:
    """Run a search in a folder that is locked."""
    study, settings = plan.study, plan.settings
    study.create(settings, plan.dataset_info, plan.declaration, plan.storage_url, command, plan.identity)
    log.to(study.log_file)
    sweep_scratch(study.folder)
    for line in describe_plan(plan):
        log.note(line)
    latency = obtain_latencies(plan)  # before any worker runs beside the measurement
    Limits(plan.space, plan.goal.beforehand, plan.scores_with(latency)).require_possible()
    supernet = obtain_supernet(plan) if settings.needs_supernet else None
    if supernet is not None:
        ray_cluster.start(plan.cluster)
        if gate is not None:
            check_order(plan, gate, command)
    trials = with_images(search_supernet(plan, supernet, latency, command))
    log.say(describe_trials(trials))
    if settings.racing is not None:
        log.say(describe_savings(trials, plan.images_scored))
    front = pareto_records(trials, plan.goal)
    if not front:
        raise WorkError(_explain_empty_front(trials, plan))
    study.lock.require_in_place()
    study.write_front(trials, plan.goal, front, settings.seed)
    return front


def search_supernet(
    plan: SearchPlan,
    supernet: Supernet | None,
    latency: LatencyTable | None,
    command: Sequence[str],
    *,
    leads: bool = True,
) -> list[TrialRecord]:
    """Search until the budget is used up; return all trials, those of earlier runs and other drivers included.

    Args:
        plan: What to do.
        supernet: What designs are evaluated with; without one they are compared by what is known without weights.
        latency: Latencies of parts, or None.
        command: The command line, for who finds the study in use.
        leads: Whether this process holds the lock of the study's folder; who joins it writes trials alone.
    """
    study = plan.study
    study.lock.require_in_place()
    store = study.open_store(plan.search_config.trials if leads else None)
    store.lease = Lease(
        store.storage,
        store.study,
        store.url,
        Holder.of_this_process(command),
        study.place,
        alone=leads and study.lock.enforced,
        join=plan.join,
        leads=leads,
    )
    with store.lease.hold(), contextlib.ExitStack() as stack:
        if leads:
            write_attributes(study, store)
        population: Population | None = None
        if supernet is not None:
            settings = plan.settings
            payload = payload_from_data(
                supernet,
                plan.data,
                settings.validation_images,
                settings.seed,
                settings.racing,
                measures_of(plan.own.objectives),
            )
            population = Population(plan.allocation, payload)
            stack.callback(population.close)
        if leads:
            stack.enter_context(record_phase(study.folder, "search", plan.allocation))
        return _search_store(plan, store, store.lease, population, latency, leads=leads)


def _search_store(
    plan: SearchPlan,
    store: Store,
    lease: Lease,
    population: Population | None,
    latency: LatencyTable | None,
    *,
    leads: bool,
) -> list[TrialRecord]:
    """Search into a store whose lease is held."""
    config = plan.search_config
    search = Search(
        plan.space,
        store,
        config,
        population or evaluate_nothing,
        plan.scores_with(latency),
        initial_designs(plan.space),
        meanwhile=population.serve if population else do_nothing,
    )
    if leads:
        store.on_added = TrialTable(plan.study.trials_file, search.earlier).add
    evaluated_before = len({trial.architecture.digest for trial in search.earlier if trial.evaluated})
    if evaluated_before:
        log.say(f"resuming the search at {evaluated_before} evaluated designs")
    if search.listed is not None and plan.num_listed is None:  # the plan did not know the latencies yet
        log.say(f"{len(search.listed)} designs keep the limits; each is evaluated once")
    goal = config.trials if search.listed is None else len(search.listed)
    with bar("searching", goal, evaluated_before) as progress:
        best: Accuracy | None = None

        def on_result(trial: TrialRecord, evaluated: int) -> None:
            nonlocal best
            lease.require()
            plan.study.lock.require_in_place()
            found = trial.accuracy if trial.eligible else None
            if found is not None and (best is None or found.top1 > best.top1):
                best = found
            progress.update(evaluated, "" if best is None else f"best {best}")
            plan.own.callbacks.on_trial(trial.architecture, trial.scores, evaluated)

        return search.run(on_result)


def describe_trials(trials: Sequence[TrialRecord]) -> str:
    """Return how many designs were proposed, and what became of them."""
    counts = {
        "over a limit": sum(trial.rejected is not None and not trial.repeat for trial in trials),
        "failed": sum(trial.failed is not None and not trial.repeat for trial in trials),
        "repeated": sum(trial.repeat for trial in trials),
    }
    others = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{sum(trial.evaluated for trial in trials)} of {len(trials)} proposed designs evaluated{others}"


def describe_savings(trials: Sequence[TrialRecord], images: int) -> str:
    """Return what racing saved of evaluations on ``images`` images each."""
    evaluated = [trial for trial in trials if trial.evaluated]
    unseen = [images - trial.stopped_after for trial in evaluated if trial.stopped_after is not None]
    return (
        f"racing stopped {len(unseen)} of {len(evaluated)} designs early and saved {sum(unseen)} of "
        f"{len(evaluated) * images} validation images"
    )


def _explain_empty_front(trials: list[TrialRecord], plan: SearchPlan) -> str:
    if not trials:
        return f"the time of --budget {plan.budget} was over before a design was evaluated; give it more"
    if failed := [trial for trial in trials if trial.failed is not None]:
        return (
            f"no design could be evaluated; {len(failed)} failed, the last because {failed[-1].failed} (the study's "
            "log has more): mend the cause and run the search again"
        )
    nearest = []
    for name, _ in plan.goal.constraints:
        seen = [trial.scores[name] for trial in trials if name in trial.scores]
        extreme = max if plan.goal.is_least(name) else min
        nearest += [f"{name} {quantity(extreme(seen))}"] if seen else []
    return (
        f"none of {len(trials)} proposed designs keeps the limits; the nearest seen was {', '.join(nearest)}: loosen "
        "the limits or search a smaller space"
    )


def obtain_supernet(plan: SearchPlan) -> Supernet:
    """Return the trained supernet of a plan, training it first where that is not done."""
    if plan.settings.supernet is not None:
        return read_supernet(plan.space, plan.settings.sharing, Path(plan.settings.supernet))
    started = time.monotonic()
    supernet = _train_supernet(plan)
    log.note(f"supernet ready after {duration(time.monotonic() - started)}")
    return supernet


def obtain_latencies(plan: SearchPlan) -> LatencyTable | None:
    """Return the latencies that a plan asks for, or None; measure them first where there are none.

    They are measured where the supernet trains: by a worker that has a GPU if workers have GPUs, else here. Those of
    another runtime than torch are measured here, on a CPU.
    """
    table, study = plan.latency, plan.study
    if table is None:
        if not plan.goal.needs_latency:
            return None
        table = _measure_latencies(plan)
    if not study.latency_file.exists():
        write_json(study.latency_file, table.to_json())
    log.note(f"latencies of {table}")
    return table


def _measure_latencies(plan: SearchPlan) -> LatencyTable:
    one = replace(plan.allocation, workers=1)
    with (
        record_phase(plan.study.folder, "latencies", one),
        progress_callback("measuring latencies") as progress,
    ):
        runtime = parse_runtime(plan.settings.latency_runtime, "--latency-runtime")
        if plan.allocation.device == "cpu" or runtime != "torch":
            cpu = planned_device("cpu")
            return measure_table(plan.space, cpu, *usual_conditions(cpu), progress, runtime)
        ray_cluster.start(plan.cluster)
        table: LatencyTable = run_distributed(measure_as_rank, plan.space, one, lambda done: progress(*done))
        return table


def _train_supernet(plan: SearchPlan) -> Supernet:
    """Train the supernet on the workers, each with its shards of every batch; return the average of its weights.

    It trains in processes of its own also where there is one worker: their memory is free for the search then.
    """
    checkpoint, settings = plan.study.supernet_file.absolute(), plan.settings
    restore_checkpoint(checkpoint)
    done, total = read_progress(checkpoint)
    if not total or done < total:
        one_machine = not plan.cluster.running
        ray_cluster.start(plan.cluster)
        ranks = plan.supernet_ranks
        teacher = prepare_teacher(
            plan.teacher, settings.recipe, plan.study, plan.data, plan.allocation, one_machine=one_machine
        )
        task = SupernetTask(
            plan.space,
            settings,
            plan.data,
            checkpoint,
            plan.pretrained,
            plan.checkpoint_identities,
            teacher,
            plan.own.training_step or recipe_step,
        )
        all_steps = settings.recipe.epochs * steps_per_epoch(settings, plan.data)
        with (
            record_phase(plan.study.folder, "supernet", plan.allocation),
            progress_bar(done, all_steps) as show,
        ):

            def on_progress(latest: TrainingProgress) -> None:
                show(latest)
                plan.own.callbacks.on_step(latest.step, all_steps, latest.loss)

            team = allocate_team(plan.allocation, ranks, one_machine=one_machine)
            sizes = team_sizes(count_shards(settings, plan.data), ranks)
            with lending(plan.study.folder) as files:
                train = in_borrowed_folder(train_rank, files)
                run_distributed(train, task, team, on_progress, sizes=sizes)
    return read_supernet(plan.space, settings.sharing, checkpoint)
