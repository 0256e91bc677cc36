"""Long jobs side by side, as trials of Ray Tune."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas.cluster.budget import WorkerAllocation
from nas.cluster.lifeline import ClusterLost
from nas.cluster.mandate import Mandate
from nas.cluster.ray_cluster import load_ray, to_user_error
from nas.cluster.recovery import Recovery
from nas.cluster.team import run_distributed
from nas.cluster.teams import Teams
from nas.cluster.trial_watch import JOB, PAUSE, TooLittleRoom, TrialWatch
from nas.runtime import interrupt
from nas.runtime.console import log
from nas.runtime.device import start_worker
from nas.runtime.error_text import last_line
from search_spaces.errors import WorkError

#: ``(job, payload, device, on_result, rank, world size)``, run by every rank of every trial.
TrialFunction = Callable[[Any, Any, torch.device, Callable[[dict[str, Any]], None], int, int], None]

_QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
# Tune's own answer to Ctrl-C would end the trials as if they were done.
_NO_SIGINT_HANDLER = {"TUNE_DISABLE_SIGINT_HANDLER": "1"}
_LOOK_SECONDS = 0.5  # between two looks of a trial for an interruption


def run_trials(
    function: TrialFunction,
    jobs: list[Any],
    payload: Any,
    teams: Teams,
    folder: str,
    on_result: Callable[[dict[str, Any]], None],
    replan: Callable[[int, int], Teams] | None = None,
) -> None:
    """Run long jobs side by side as Ray Tune trials, which are restarted where they die and only there.

    An interruption reaches the trials through a file beside Tune's own; they get the time to save their state.

    A trial with more than one rank has its placement group full of them and computes nothing itself: it watches
    them, which none of them could do while it waits for the others' gradients.

    Args:
        function: ``(job, payload, device, on_result, rank, world size)``, an importable function; resumes itself from
            what its first rank saved.
        jobs: One trial each.
        payload: What all need; stored once per node.
        teams: How many trials at once, with how many ranks each.
        folder: Where Tune keeps its own files.
        on_result: Called with every result that a trial reports.
        replan: ``(jobs, workers) -> teams``: how the jobs that are left share the workers that are left, where the
            cluster has lost so many nodes that no team fits any more. None where teams cannot be made smaller.

    Raises:
        Interrupted: If the user asked to stop; what runs has saved its state.
        NasError: Of a trial: the others end as well.
        WorkError: If a trial dies again and again or fails in another way, none can start for long, or another's
            cluster has ended.
    """
    stop_file = Path(folder, "interrupted")
    stop_file.unlink(missing_ok=True)
    left, recovery = dict(enumerate(jobs)), Recovery()
    while left:
        names = {number: getattr(job, "name", str(job)) for number, job in left.items()}
        watch = TrialWatch(names, teams.allocation, stop_file, on_result, one_size=replan is None)
        try:
            _run_with_tune(function, jobs, list(left), payload, teams, folder, watch)
            return
        except TooLittleRoom as less:
            left = {number: job for number, job in left.items() if number not in watch.finished}
            if replan is None:
                raise
            teams = replan(len(left), less.room)
            log.say(f"{less}: {teams}")
        except ClusterLost as lost:
            left = {number: job for number, job in left.items() if number not in watch.finished}
            if watch.has_results:
                recovery.has_advanced()
            recovery.restart(lost)


def _run_with_tune(
    function: TrialFunction,
    jobs: Sequence[Any],
    numbers: Sequence[int],
    payload: Any,
    teams: Teams,
    folder: str,
    watch: TrialWatch,
) -> None:
    """Run the jobs of these numbers, each as a trial of Tune."""
    ray = load_ray()
    with _environment(
        {name: os.environ.get(name, value) for name, value in _QUIET.items()} | _NO_SIGINT_HANDLER
    ):
        from ray import tune

        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(
                    _run_trial,
                    function=function,
                    jobs=jobs,
                    stored=[ray.put(payload)],
                    allocation=teams.allocation,
                    stop_file=Path(folder, "interrupted"),
                    mandate=Mandate.for_workers(),
                ),
                _reserve(teams.allocation),
            ),
            param_space={JOB: tune.grid_search(list(numbers)), PAUSE: 0.0},
            # A cluster may have more than the budget.
            tune_config=tune.TuneConfig(max_concurrent_trials=teams.count),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                failure_config=tune.FailureConfig(max_failures=-1),  # the watch counts
                callbacks=[watch.to_callback()],
                progress_reporter=_make_silent_reporter(),
                verbose=0,
            ),
        )
        try:
            results = _fit(tuner)
        except Exception:
            if watch.failure is not None:  # Tune may fail in its own ways as it ends
                raise watch.failure from None
            raise
        if watch.failure is not None:
            raise watch.failure
    for result in results:
        if result.error is not None:
            if isinstance(result.error, ray.exceptions.RayTaskError):
                raise to_user_error(result.error)
            log.note(str(result.error))
            raise WorkError(f"a training trial failed: {last_line(result.error)}")


def _reserve(allocation: WorkerAllocation) -> Any:
    """Return what Tune reserves for a trial: a bundle for each rank, and none for the trial beside several."""
    from ray import tune

    share = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    bundle = {name: amount for name, amount in share.items() if amount}
    if allocation.workers == 1:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory([{}] + [bundle] * allocation.workers)


def _run_trial(
    config: Mapping[str, Any],
    *,
    function: TrialFunction,
    jobs: Sequence[Any],
    stored: Sequence[Any],
    allocation: WorkerAllocation,
    stop_file: Path,
    mandate: Mandate,
) -> None:
    """Run one job in the process of its trial, or in those of its ranks; end it once ``stop_file`` is there."""
    ray = load_ray()
    from ray import tune

    mandate.accept()
    time.sleep(config[PAUSE])  # of one that died again and again
    job, (payload,) = jobs[config[JOB]], stored
    threading.Thread(target=_await_interruption, args=(stop_file,), daemon=True).start()
    if allocation.workers == 1:
        run_alone(function, job, ray.get(payload), allocation, tune.report)
    else:
        rank_function = functools.partial(function, job)
        # Tune starts a trial again whose team died.
        run_distributed(rank_function, payload, allocation, _report_news(tune.report), attempts=1)


def _await_interruption(stop_file: Path) -> None:
    """Interrupt this process once the file is there."""
    while not stop_file.exists():
        time.sleep(_LOOK_SECONDS)
    interrupt.request()


def run_alone(
    function: TrialFunction,
    job: Any,
    payload: Any,
    allocation: WorkerAllocation,
    on_result: Callable[[dict[str, Any]], None],
) -> None:
    """Run one job in this process, on the device and with the threads that were planned for it."""
    device = start_worker(allocation.device, allocation.threads)
    function(job, payload, device, on_result, 0, 1)


def _report_news(report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return ``report`` that leaves out what it was given last."""
    last: dict[str, Any] | None = None

    def on_progress(latest: dict[str, Any]) -> None:
        nonlocal last
        if latest != last:
            report(latest)
            last = latest

    return on_progress


def tune_with_optuna(
    objective: Callable[[dict[str, Any]], dict[str, float]],
    distributions: dict[str, Any],
    names: list[str],
    directions: Sequence[str],
    sampler: Any,
    trials: int,
    folder: str,
) -> None:
    """Search with Ray Tune and its OptunaSearch, which ``nas bench search`` compares with; no study runs so.

    Args:
        objective: Parameters to scores.
        distributions: Optuna's distributions by parameter.
        names: Scores that are objectives.
        directions: Optuna's direction of each.
        sampler: Optuna's sampler.
        trials: Number of trials.
        folder: Where Tune keeps its own files.

    Raises:
        WorkError: If a trial fails.
    """
    load_ray()
    with _environment({name: os.environ.get(name, value) for name, value in _QUIET.items()}):
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        def run_objective(config: dict[str, Any]) -> None:
            tune.report(objective(config))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modes = [direction[:3] for direction in directions]
            algorithm = OptunaSearch(distributions, metric=names, mode=modes, sampler=sampler)
        config = tune.TuneConfig(search_alg=algorithm, num_samples=trials, reuse_actors=True)
        reporter = _make_silent_reporter()
        run = tune.RunConfig(name="optuna", storage_path=folder, progress_reporter=reporter, verbose=0)
        results = _fit(tune.Tuner(run_objective, tune_config=config, run_config=run))
    if results.num_errors:
        raise WorkError(f"{results.num_errors} of {trials} trials of Ray Tune failed: {results.errors[0]}")


def _make_silent_reporter() -> Any:
    """Return what tells nobody of Tune's progress; in a notebook its own clears what a cell has printed."""
    from ray import tune

    class Silent(tune.ProgressReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return False

        def report(self, trials: Any, done: bool, *sys_info: str) -> None:
            """Print nothing."""

    return Silent()


def _fit(tuner: Any) -> Any:
    """Run Tune; what a trial raised is in its results, and is not printed a second time as a traceback."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuner.fit()
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which is where Tune reads these settings, while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
