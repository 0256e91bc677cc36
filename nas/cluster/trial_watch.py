"""What is watched while trials of Ray Tune run: deaths, room for them, interruptions, and Ray itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.cluster.backoff import Backoff
from nas.cluster.budget import WorkerAllocation
from nas.cluster.deaths import Death, explain_death
from nas.cluster.lifeline import ClusterLost
from nas.cluster.ray_cluster import load_ray, require_alive, stop, to_user_error
from nas.cluster.room import Shortage, count_room
from nas.cluster.team import MOST_DEATHS, SAVING_SECONDS, TeamDied
from nas.cluster.waiting import Wait
from nas.runtime import interrupt
from nas.runtime.console import duration, log
from search_spaces.errors import NasError, WorkError

_ROOM_SECONDS = 10.0  # for which no trial has room before teams are made smaller

#: The keys of a trial's configuration: the number of its job, and how long it waits before it begins.
JOB, PAUSE = "job", "pause"


class TooLittleRoom(WorkError):
    """The cluster has lost nodes, and no team of the planned size fits any more.

    Args:
        room: Workers that there is room for.
    """

    def __init__(self, room: int) -> None:
        super().__init__(f"the cluster has room for {room} workers only")
        self.room = room


class TrialWatch:
    """Notices what happens to trials; what it raises ends all of them.

    Args:
        names: How each job is called, by its number.
        allocation: What a trial gets.
        stop_file: Tells running trials to save their state.
        on_result: Called with every result.
        one_size: Whether teams cannot be made smaller.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        allocation: WorkerAllocation,
        stop_file: Path,
        on_result: Callable[[dict[str, Any]], None],
        *,
        one_size: bool,
    ) -> None:
        #: What a new start would meet again, the caller raised, or ends this run of Tune.
        self.failure: NasError | None = None
        self.finished: set[int] = set()
        self.has_results = False
        self._names, self._allocation, self._on_result = names, allocation, on_result
        self._waiting, self._saving = Wait(allocation), _Saving(stop_file)
        self._one_size = one_size
        self._shortage = Shortage(_ROOM_SECONDS)
        self._deaths: dict[int, int] = {}  # in a row, by job
        self._backoffs: dict[int, Backoff] = {}

    def step(self, trials: Sequence[Any]) -> None:
        """Look at the trials; called again and again.

        Raises:
            NasError: If all trials are to end.
        """
        self._saving.check(trials)
        if self.failure is not None:
            raise self.failure  # from here it is not wrapped by Tune
        try:
            require_alive()
        except ClusterLost as lost:
            self.failure = lost
            stop()  # before Tune, as it ends, asks a Ray that would end this process
            raise
        states = [trial.status for trial in trials]
        ready, pending = states.count("RUNNING"), states.count("PENDING")
        # Jobs queue where there are more of them than workers: nothing is missing while one is trained.
        self._waiting.check(min(ready, 1), min(ready + pending, 1))
        if not self._one_size:
            self._require_room(ready, pending)

    def _require_room(self, ready: int, pending: int) -> None:
        """Raise where nothing runs since no team fits, and smaller ones would."""
        room = self._allocation.workers if ready or not pending else count_room(self._allocation)
        if self._shortage.lasts(0 < room < self._allocation.workers):
            self.failure = TooLittleRoom(room)
            raise self.failure

    def result(self, trial: Any, result: dict[str, Any]) -> None:
        """Take note of what a trial reports."""
        self.has_results = True
        self._deaths.pop(trial.config[JOB], None)
        self._backoffs.pop(trial.config[JOB], None)
        try:
            self._on_result(result)
        except NasError as error:
            self.failure = error

    def complete(self, trial: Any) -> None:
        """Take note of a trial that is done."""
        self.finished.add(trial.config[JOB])

    def recover(self, trial: Any) -> None:
        """Take note of a trial that died or failed, and is about to start again."""
        if interrupt.is_requested():
            return
        error = _read_error(trial)
        if isinstance(error, load_ray().exceptions.RayTaskError) and not isinstance(error.cause, TeamDied):
            self.failure = to_user_error(error)
            return
        job, death = trial.config[JOB], _explain(error)
        deaths = self._deaths[job] = self._deaths.get(job, 0) + (not death.of_node)
        log.note(str(error))
        if deaths >= MOST_DEATHS:
            self.failure = WorkError(
                f"the training of {self._names[job]} died {deaths} times in a row, the last time because of this: "
                f"{death.cause}"
            )
            return
        pause = self._backoffs.setdefault(job, Backoff()).pause()
        trial.set_config({**trial.config, PAUSE: pause})
        when = f" in {duration(pause)}" if pause else ""
        log.say(
            f"a worker of the training of {self._names[job]} died: {death.cause}; it is started again from its "
            f"checkpoint{when}"
        )

    def to_callback(self) -> Any:
        """Return it as Tune takes it."""
        from ray import tune

        watch = self

        class Listener(tune.Callback):
            def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
                watch.step(trials)

            def on_trial_result(
                self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
            ) -> None:
                watch.result(trial, result)

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                watch.complete(trial)

            def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                watch.recover(trial)

        return Listener()


def _explain(error: Any) -> Death:
    """Return why a trial died: a team has said it, of a trial that is one process Ray says it."""
    if error is None:
        return Death("it is not known why")
    cause = getattr(error, "cause", None)
    return cause.death if isinstance(cause, TeamDied) else explain_death(error)


def _read_error(trial: Any) -> Any:
    """Return what a trial failed with; Tune's own way finds it only once it is copied to the results."""
    path = Path(trial.pickled_error_file or os.devnull)
    return load_ray().cloudpickle.loads(path.read_bytes()) if path.is_file() else None


class _Saving:
    """Lets running trials save their state before an interruption ends them.

    Args:
        stop_file: What tells them.
    """

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._trials: list[Any] | None = None  # those that ran when the interruption came
        self._until = 0.0

    def check(self, trials: Sequence[Any]) -> None:
        """Raise `Interrupted` once that was asked for and no trial is saving any more."""
        if not interrupt.is_requested():
            return
        if self._trials is None:
            self._stop_file.touch()
            self._trials = [trial for trial in trials if trial.status == "RUNNING"]
            self._until = time.monotonic() + SAVING_SECONDS
        if time.monotonic() >= self._until or all(trial.status != "RUNNING" for trial in self._trials):
            interrupt.check()
