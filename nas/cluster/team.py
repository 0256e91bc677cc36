"""One function on several workers at once, as the ranks of a torch.distributed group."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import MAX_ATTEMPTS, load_ray, to_user_error
from nas.cluster.rendezvous import LOOPBACK, Rendezvous, common_host, join, open_store
from nas.cluster.waiting import Wait
from nas.runtime import interrupt
from nas.runtime.console import log
from nas.runtime.device import DeviceType, start_worker
from search_spaces.errors import NasError, WorkError

SAVING_SECONDS = 60.0  # for rank 0 of an interrupted training to write its checkpoint
_PEERS_SECONDS = 10.0  # for the other ranks of one that failed to fail as well

#: ``(payload, device, on_progress, rank, world size)``, run by every rank.
RankFunction = Callable[[Any, torch.device, Callable[[Any], None], int, int], Any]


class TeamDied(WorkError):
    """Workers of a team died as often as it was formed; a new team would go on from its checkpoint."""


class _Rank:
    """The actor: one rank of a team; answers ``progress`` while ``work`` runs."""

    def __init__(self, device: DeviceType, threads: int) -> None:
        self.planned, self.device = device, start_worker(device, threads)
        self.latest: Any = None
        self._store: Any = None

    def host(self) -> str:
        """Return the address of this rank's machine."""
        return str(load_ray().util.get_node_ip_address())

    def open_store(self, host: str, world: int) -> Rendezvous:
        """Open the store at which the team meets, as its first rank."""
        self._store, meeting = open_store(host, world)
        return meeting

    def work(self, function: RankFunction, payload: Any, rank: int, world: int, meeting: Rendezvous) -> Any:
        if world == 1:
            return function(payload, self.device, self._on_progress, rank, world)
        join(self.planned, rank, world, meeting, LOOPBACK if meeting.host == LOOPBACK else self.host())
        try:
            return function(payload, self.device, self._on_progress, rank, world)
        finally:
            distributed.destroy_process_group()

    def _on_progress(self, latest: Any) -> None:
        self.latest = latest

    def progress(self) -> Any:
        """Return what was reported last, or None."""
        return self.latest

    def interrupt(self) -> None:
        """Ask ``work`` to save its state and end."""
        interrupt.request()


def run_distributed(
    function: RankFunction,
    payload: Any,
    allocation: WorkerAllocation,
    on_progress: Callable[[Any], None],
    attempts: int = MAX_ATTEMPTS,
) -> Any:
    """Run one function on all workers of an allocation at once, as ranks of a group; return what the first returned.

    One worker runs it without a group, in a process of its own all the same: whatever it keeps on a GPU ends with it.

    Plain actors rather than Ray Train, which takes some 15 s to its first step; and an interruption is
    answered at once: rank 0 saves. A team that loses a member is formed anew and goes on from its checkpoint.

    Args:
        function: ``(payload, device, on_progress, rank, world size)``; resumes itself from what rank 0 saved.
        payload: What all need, or Ray's reference to it.
        allocation: How many ranks with what each.
        on_progress: Called with what rank 0 reported last, about twice a second.
        attempts: How often a team is formed.

    Raises:
        Interrupted: If the user asked to stop; what was saved remains.
        TeamDied: If teams die again and again.
        WorkError: If the function fails, or no team can start for long.
    """
    ray = load_ray()
    stored = payload if isinstance(payload, ray.ObjectRef) else ray.put(payload)
    waiting = Wait(allocation)
    for attempt in range(1, attempts + 1):
        actor_class = ray.remote(_Rank).options(
            num_cpus=allocation.cpus_per_worker, num_gpus=allocation.gpus_per_worker, max_concurrency=2
        )
        team = [actor_class.remote(allocation.device, allocation.threads) for _ in range(allocation.workers)]
        try:
            return _run_team(team, function, stored, on_progress, waiting)
        except ray.exceptions.RayTaskError as error:
            raise to_user_error(error) from error
        except ray.exceptions.RayError as error:
            what = f"a worker of the team died ({type(error).__name__})"
            if attempt == attempts:
                times = "" if attempts == 1 else f" {attempts} times"
                raise TeamDied(
                    f"the team of {allocation.workers} workers died{times}: {what}; see the log"
                ) from None
            log.say(f"{what}; starting the team again from its checkpoint")
        finally:
            for rank in team:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(rank)


def _wait_for_hosts(team: list[Any], waiting: Wait) -> list[str]:
    """Return the addresses of the ranks' machines once all ranks have started; none works before that."""
    ray = load_ray()
    asked = [actor.host.remote() for actor in team]
    while True:
        interrupt.check()
        started, _ = ray.wait(asked, num_returns=len(asked), timeout=0.5)
        ray.get(started)  # raises where one has died
        if len(started) == len(asked):
            return [str(host) for host in ray.get(asked)]
        waiting.check(len(started), len(asked), usable=False)


def _run_team(
    team: list[Any], function: RankFunction, stored: Any, on_progress: Callable[[Any], None], waiting: Wait
) -> Any:
    """Run ``function`` on the actors of a team until all are done; return what the first returned."""
    ray = load_ray()
    hosts = _wait_for_hosts(team, waiting)
    meeting = ray.get(team[0].open_store.remote(common_host(hosts), len(team)))
    running = [
        actor.work.remote(function, stored, rank, len(team), meeting) for rank, actor in enumerate(team)
    ]
    first = running[0]
    try:
        while running:
            interrupt.check()
            done, running = ray.wait(running, timeout=0.5)
            _require_success(done, running)
            latest = ray.get(team[0].progress.remote())
            if latest is not None:
                on_progress(latest)
    except interrupt.Interrupted:
        team[0].interrupt.remote()
        ray.wait([first], timeout=SAVING_SECONDS)
        raise
    return ray.get(first)


def _require_success(done: list[Any], running: list[Any]) -> None:
    """Raise what ended a team, if anything did.

    A rank whose peer is gone fails as well, often before anybody notices that the peer died or what it said.
    """
    ray = load_ray()
    try:
        ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NasError):
            raise
        ended, _ = (
            ray.wait(running, num_returns=len(running), timeout=_PEERS_SECONDS) if running else ([], [])
        )
        errors = [failure for reference in ended if (failure := _failure_of(reference)) is not None]
        ours = [each for each in errors if isinstance(getattr(each, "cause", None), NasError)]
        deaths = [each for each in errors if not isinstance(each, ray.exceptions.RayTaskError)]
        raise [*ours, *deaths, error][0] from None


def _failure_of(reference: Any) -> Exception | None:
    ray = load_ray()
    try:
        ray.get(reference)
    except ray.exceptions.RayError as error:
        return error
    return None
