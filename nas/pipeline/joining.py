"""A search beside others of the same study: it shares their batches and ends with the same front.

Who holds the lock of the study's folder makes the study, trains the supernet, searches, and writes the front. Who
joins it waits for the supernet, evaluates a part of every batch, and writes trials alone; where the other has died it
goes on by itself and writes the front in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nas.cluster import ray_cluster
from nas.latency.table import LatencyTable, read_table
from nas.pipeline.plan import SearchPlan
from nas.pipeline.run import describe_trials, search_supernet
from nas.runtime import interrupt
from nas.runtime.console import log
from nas.runtime.lock import LockHeldError
from nas.search.loop import pareto_records
from nas.search.ties import with_images
from nas.search.trial_store import TrialRecord
from nas.training.supernet_checkpoint import read_progress, read_supernet
from search_spaces.errors import WorkError
from supernet.supernet import Supernet

_POLL_SECONDS = 1.0
_FRONT_SECONDS = 60.0  # in which who leads writes its front


def join_search(plan: SearchPlan, command: Sequence[str]) -> list[TrialRecord]:
    """Search a study beside who holds its lock; return the Pareto front, best first.

    Raises:
        Interrupted: If the user asked to stop; everything finished is stored.
        StudyError: If the study turns out to be another one.
        WorkError: If who holds the lock ends before there is a supernet to search.
    """
    study = plan.study
    log.say(f"{study.folder} is searched by {study.lock.holder()}: this command joins it")
    _wait(plan, study.settings_file.exists, "the study")
    study.check(plan.settings, plan.space, plan.data)
    log.to(study.log_file)
    latency = _find_latencies(plan)
    supernet = _find_supernet(plan) if plan.settings.needs_supernet else None
    if supernet is not None:
        ray_cluster.start(plan.cluster)
    trials = with_images(search_supernet(plan, supernet, latency, command, leads=False))
    log.say(describe_trials(trials))
    front = pareto_records(trials, plan.goal)
    _require_front(plan, trials, front, command)
    return front


def _find_latencies(plan: SearchPlan) -> LatencyTable | None:
    """Return the latencies of the study, or None where it needs none; wait until they are measured."""
    if plan.latency is not None or not plan.goal.needs_latency:
        return plan.latency
    _wait(plan, plan.study.latency_file.exists, "the latencies")
    return read_table(plan.study.latency_file, plan.space)


def _find_supernet(plan: SearchPlan) -> Supernet:
    """Return the study's supernet; wait until it is trained."""
    if plan.settings.supernet is not None:
        return read_supernet(plan.space, plan.settings.sharing, Path(plan.settings.supernet))
    checkpoint = plan.study.supernet_file

    def is_trained() -> bool:
        done, total = read_progress(checkpoint)
        return 0 < total <= done

    _wait(plan, is_trained, "the supernet")
    return read_supernet(plan.space, plan.settings.sharing, checkpoint)


def _wait(plan: SearchPlan, ready: Callable[[], bool], what: str) -> None:
    """Wait until who leads has made something.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If it ends before.
    """
    told = False
    while not ready():
        if plan.study.lock.holder() is None and not ready():
            raise WorkError(
                f"the command that this one joined ended before {what} was ready; type the same command again"
            )
        if not told:
            log.say(f"waiting for {what} of the command that is joined")
            told = True
        interrupt.check()
        time.sleep(_POLL_SECONDS)


def _require_front(
    plan: SearchPlan, trials: Sequence[TrialRecord], front: Sequence[TrialRecord], command: Sequence[str]
) -> None:
    """See to it that ``front.json`` is of all trials: who leads writes it, and this command where nobody leads."""
    end = time.monotonic() + _FRONT_SECONDS
    while plan.study.front_trials() < len(trials) and time.monotonic() < end:
        try:
            with plan.study.lock.hold(command):
                plan.study.write_front(trials, plan.goal, front, plan.settings.seed)
        except LockHeldError:
            interrupt.check()
