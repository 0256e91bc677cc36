"""Waiting for workers that a cluster has but others use: said on the screen, and ended at a limit.

What workers have reserved counts as in use while they start; others have what was in use before there were any.
Work begins with the workers that are there; the limit counts only while there is none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import is_private, load_ray
from nas.runtime.console import duration, log
from search_spaces.errors import BudgetError, WorkError

#: Name of the variable with the seconds after which waiting for the first worker ends.
LIMIT_VARIABLE = "NAS_WAIT_SECONDS"
DEFAULT_LIMIT = 3600.0
_FIRST_LINE = 10.0  # seconds; most workers have started by then
_LONGEST_PAUSE = 600.0  # between two lines

#: Resource to how much the cluster has and how much of it is free.
Resources = Callable[[], tuple[dict[str, float], dict[str, float]]]


def wait_limit() -> float:
    """Return after how many seconds waiting for the first worker ends.

    Raises:
        BudgetError: If ``NAS_WAIT_SECONDS`` is no number of seconds.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise BudgetError(
            f"{LIMIT_VARIABLE}={text} is no number of seconds; set it to how long to wait for workers, for example 600"
        )
    return limit


class Wait:
    """Notices that workers are waited for; to be asked again and again while work goes on.

    To be made before the workers are.

    Args:
        allocation: What each worker needs.
        clock: Seconds that pass.
        resources: What the cluster has and what of it is free.
        private: Whether nobody else uses the cluster; by default whether this process started it.
    """

    def __init__(
        self,
        allocation: WorkerAllocation,
        clock: Callable[[], float] = time.monotonic,
        resources: Resources | None = None,
        *,
        private: bool | None = None,
    ) -> None:
        self.allocation, self.limit = allocation, wait_limit()
        self._clock, self._resources = clock, resources or _ray_resources
        self._private = is_private() if private is None else private
        self._others = 0.0 if self._private else self._in_use()
        self._since: float | None = None  # when workers were missing for the first time
        self._idle_since: float | None = None  # when no work could go on for the first time
        self._next_line = _FIRST_LINE

    def check(self, ready: int, wanted: int, *, usable: bool | None = None) -> None:
        """Say what is waited for, now and then.

        Args:
            ready: Workers that are there.
            wanted: Workers that there should be.
            usable: Whether work goes on with those that are there; by default where there is any.

        Raises:
            WorkError: If no work goes on and the limit is over.
        """
        if ready >= wanted:
            self._since, self._idle_since, self._next_line = None, None, _FIRST_LINE
            return
        now = self._clock()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if ready > 0 if usable is None else usable:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        if self._idle_since is not None and (idle := now - self._idle_since) >= self.limit:
            raise WorkError(
                f"no work could go on for {duration(idle)}: {wanted - ready} of {wanted} workers are missing, "
                f"{self._describe(wanted)}; run the same command again when more is free, give a smaller --budget, or "
                f"set {LIMIT_VARIABLE} to wait longer",
                page="howto/resume.md#no-worker-becomes-free",
            )
        if waited >= self._next_line:
            self._next_line = waited + min(waited, _LONGEST_PAUSE)
            log.say(
                f"waiting for {wanted - ready} of {wanted} workers for {duration(waited)}: "
                f"{self._describe(wanted)}"
            )

    @property
    def _scarce(self) -> tuple[str, float]:
        """What workers are counted by, and how much each reserves."""
        allocation = self.allocation
        gpus = allocation.gpus_per_worker
        return ("GPU", gpus) if gpus else ("CPU", allocation.cpus_per_worker)

    def _in_use(self) -> float:
        name, _ = self._scarce
        totals, free = self._resources()
        return totals.get(name, 0.0) - free.get(name, 0.0)

    def _describe(self, wanted: int) -> str:
        """Return why workers are missing of those that are wanted."""
        allocation, (name, share) = self.allocation, self._scarce
        noun = "GPU" if name == "GPU" else "CPU core"
        totals, free = self._resources()
        total, left = totals.get(name, 0.0), free.get(name, 0.0)
        room = left >= share and free.get("CPU", 0.0) >= allocation.cpus_per_worker
        if room or self._private or total - left - self._others >= wanted * share - 1e-6:
            return "they are starting"
        what = f"the cluster has {total:g} {noun}{'' if total == 1 else 's'}, {total - left:g} are in use"
        if left >= share:  # GPUs are free, and no cores for them
            what += f", and {free.get('CPU', 0.0):g} of {totals.get('CPU', 0.0):g} CPU cores are free"
        return what


def _ray_resources() -> tuple[dict[str, float], dict[str, float]]:
    ray = load_ray()
    return dict(ray.cluster_resources()), dict(ray.available_resources())
