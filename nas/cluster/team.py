"""One function on several workers at once, as the ranks of a torch.distributed group.

A team that loses a member is formed anew and goes on from its checkpoint: of as many as the cluster still has room for,
and of all again once nodes have come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import distributed

from nas.cluster.backoff import Backoff
from nas.cluster.budget import WorkerAllocation
from nas.cluster.crew import end
from nas.cluster.deaths import Death, Whereabouts, explain_death
from nas.cluster.lifeline import ClusterLost
from nas.cluster.mandate import Mandate
from nas.cluster.ray_cluster import load_ray, require_alive, to_user_error
from nas.cluster.recovery import Recovery
from nas.cluster.rendezvous import LOOPBACK, Rendezvous, common_host, join, open_store
from nas.cluster.room import Shortage, count_room, largest_fitting
from nas.cluster.waiting import Wait
from nas.runtime import interrupt
from nas.runtime.console import duration, log
from nas.runtime.device import DeviceType, start_worker
from search_spaces.errors import NasError, WorkError

SAVING_SECONDS = 60.0  # for rank 0 of an interrupted training to write its checkpoint
MOST_DEATHS = 5  # of teams in a row, none of which got further than the one before
_PEERS_SECONDS = 10.0  # for the other ranks of one that failed to fail as well
_ROOM_SECONDS = 5.0  # for which a cluster has too little room before a team is made smaller
_LOOK_SECONDS = 10.0  # between two looks for room for a larger team

#: ``(payload, device, on_progress, rank, world size)``, run by every rank.
RankFunction = Callable[[Any, torch.device, Callable[[Any], None], int, int], Any]


class TeamDied(WorkError):
    """Workers of a team died as often as it was formed; a new team would go on from its checkpoint.

    Args:
        message: What to say.
        death: How the last one ended.
    """

    def __init__(self, message: str, death: Death) -> None:
        super().__init__(message, death)
        self.death = death

    def __str__(self) -> str:
        return str(self.args[0])


class _MemberDied(Exception):
    """A rank of a team died, or lost its connection to one that did."""

    def __init__(self, death: Death, error: Exception) -> None:
        super().__init__(str(error))
        self.death = death


class _OtherSize(Exception):
    """The cluster has room for a team of another size."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Rank:
    """The actor: one rank of a team; answers ``progress`` while ``work`` runs."""

    def __init__(self, mandate: Mandate, device: DeviceType, threads: int) -> None:
        mandate.accept()
        self.planned, self.device = device, start_worker(device, threads)
        self.latest: Any = None
        self._store: Any = None

    def whereabouts(self) -> Whereabouts:
        """Say where this rank runs."""
        return Whereabouts.of_this_worker()

    def open_store(self, host: str, world: int) -> Rendezvous:
        """Open the store at which the team meets, as its first rank."""
        self._store, meeting = open_store(host, world)
        return meeting

    def work(self, function: RankFunction, payload: Any, rank: int, world: int, meeting: Rendezvous) -> Any:
        if world == 1:
            return function(payload, self.device, self._on_progress, rank, world)
        join(self.planned, rank, world, meeting, self._own_host(meeting))
        try:
            return function(payload, self.device, self._on_progress, rank, world)
        finally:
            distributed.destroy_process_group()

    def _own_host(self, meeting: Rendezvous) -> str:
        return LOOPBACK if meeting.host == LOOPBACK else self.whereabouts().host

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
    attempts: int = MOST_DEATHS,
    sizes: Sequence[int] = (),
) -> Any:
    """Run one function on all workers of an allocation at once, as ranks of a group; return what the first returned.

    One worker runs it without a group, in a process of its own all the same: whatever it keeps on a GPU ends with it.

    Plain actors rather than Ray Train, which takes some 15 s to its first step; and an interruption is
    answered at once: rank 0 saves.

    Args:
        function: ``(payload, device, on_progress, rank, world size)``; resumes itself from what rank 0 saved.
        payload: What all need, or Ray's reference to it.
        allocation: How many ranks with what each.
        on_progress: Called with what rank 0 reported last, about twice a second.
        attempts: Deaths in a row after which no other team is formed; of nodes they do not count.
        sizes: Other numbers of ranks that the work can be divided among, where nodes are lost.

    Raises:
        Interrupted: If the user asked to stop; what was saved remains.
        TeamDied: If teams die again and again.
        WorkError: If the function fails, no team can start for long, or another's cluster has ended.
    """
    ray = load_ray()
    team = _Team(function, payload, allocation, on_progress, sorted({*sizes, allocation.workers}))
    backoff, recovery, deaths = Backoff(), Recovery(), 0
    while True:
        try:
            return team.run()
        except ray.exceptions.RayTaskError as error:
            raise to_user_error(error) from error
        except _OtherSize as other:
            log.say(
                f"the cluster has room for {other.size} of {allocation.workers} workers: the team is formed of "
                f"{other.size}, from its checkpoint"
            )
            team.size = other.size
        except ClusterLost as lost:
            if team.has_advanced:
                recovery.has_advanced()
            recovery.restart(lost)
            team.store_anew()
        except _MemberDied as died:
            death = died.death
            log.note(str(died))
            if death.by_itself:
                raise WorkError(f"workers cannot start: {death.cause}") from None
            if team.has_advanced:
                deaths = 0
                backoff.reset()
            deaths += not death.of_node
            if deaths >= attempts or attempts == 1:
                times = "" if attempts == 1 else f" {deaths} times"
                raise TeamDied(
                    f"the team of {team.size} workers died{times}: {death.cause}",
                    death,
                ) from None
            pause = backoff.pause()
            when = f" in {duration(pause)}" if pause else ""
            log.say(
                f"a worker of the team died: {death.cause}; the team is started again from its checkpoint{when}"
            )
            _rest(pause)
        finally:
            team.end()


class _Team:
    """Ranks that run a function together, formed as often as needed.

    Args:
        function: The function.
        payload: What it needs, or Ray's reference to it.
        allocation: What each rank gets, and how many there are at most.
        on_progress: Called with what rank 0 reports.
        sizes: Numbers of ranks that there may be, in order.
    """

    def __init__(
        self,
        function: RankFunction,
        payload: Any,
        allocation: WorkerAllocation,
        on_progress: Callable[[Any], None],
        sizes: Sequence[int],
    ) -> None:
        self.function, self.payload, self.allocation = function, payload, allocation
        self.on_progress, self.sizes, self.size = on_progress, sizes, allocation.workers
        #: Whether the last team got further than all before it.
        self.has_advanced = False
        self._furthest = -1.0  # where the first rank of any team has been
        self._ranks: list[Any] = []
        self._whereabouts: list[Whereabouts | None] = []
        self.store_anew()

    def store_anew(self) -> None:
        """Store what the ranks need in Ray's object store; on a cluster that was started again nothing is left."""
        ray = load_ray()
        self._stored = self.payload if isinstance(self.payload, ray.ObjectRef) else ray.put(self.payload)
        self._waiting = Wait(self.allocation)

    def run(self) -> Any:
        """Run the function on a new team until all ranks are done; return what the first returned.

        Raises:
            _MemberDied: If a rank died.
            _OtherSize: If there is room for a smaller team alone, or for a larger one again.
            ClusterLost: If Ray itself has ended.
        """
        self.has_advanced = False
        ray, allocation = load_ray(), self.allocation
        actor_class = ray.remote(_Rank).options(
            num_cpus=allocation.cpus_per_worker, num_gpus=allocation.gpus_per_worker, max_concurrency=2
        )
        mandate = Mandate.for_workers()
        self._whereabouts = [None] * self.size
        self._ranks = [
            actor_class.remote(mandate, allocation.device, allocation.threads) for _ in range(self.size)
        ]
        hosts = self._wait_for_hosts()
        meeting = self._ask_first(self._ranks[0].open_store.remote(common_host(hosts), self.size))
        running = {
            actor.work.remote(self.function, self._stored, rank, self.size, meeting): rank
            for rank, actor in enumerate(self._ranks)
        }
        first = next(iter(running))
        try:
            self._watch(running)
        except (interrupt.Interrupted, _OtherSize):
            self._ranks[0].interrupt.remote()
            ray.wait([first], timeout=SAVING_SECONDS)
            raise
        return self._get(first, 0)

    def end(self) -> None:
        """End the ranks."""
        for actor in self._ranks:
            end(actor)
        self._ranks = []

    def _wait_for_hosts(self) -> list[str]:
        """Return the addresses of the ranks' machines once all ranks have started; none works before that."""
        ray = load_ray()
        asked = [actor.whereabouts.remote() for actor in self._ranks]
        shortage = Shortage(_ROOM_SECONDS)
        while True:
            interrupt.check()
            require_alive()
            started, _ = ray.wait(asked, num_returns=len(asked), timeout=0.5)
            for reference in started:
                rank = asked.index(reference)
                self._whereabouts[rank] = self._get(reference, rank)
            if len(started) == len(asked):
                return [each.host for each in self._whereabouts if each is not None]
            self._waiting.check(len(started), len(asked), usable=False)
            smaller = largest_fitting(self.sizes, count_room(self.allocation))
            lacks = smaller is not None and smaller < self.size
            if shortage.lasts(lacks) and smaller is not None:
                raise _OtherSize(smaller)

    def _watch(self, running: dict[Any, int]) -> None:
        """Wait until all ranks are done, and pass on what the first one reports."""
        ray, looked = load_ray(), time.monotonic()
        while running:
            interrupt.check()
            require_alive()
            done, _ = ray.wait(list(running), timeout=0.5)
            ranks = {reference: running.pop(reference) for reference in done}
            self._require_success(ranks, running)
            latest = self._ask_first(self._ranks[0].progress.remote())
            if latest is not None:
                position = _position(latest)
                self.has_advanced |= position > self._furthest
                self._furthest = max(self._furthest, position)
                self.on_progress(latest)
            if self.size < self.allocation.workers and time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                self._require_no_more_room()

    def _require_no_more_room(self) -> None:
        """Raise where nodes have come that a larger team fits on."""
        room = min(count_room(self.allocation), self.size + count_room(self.allocation, free=True))
        larger = largest_fitting([size for size in self.sizes if size > self.size], room)
        if larger is not None:
            raise _OtherSize(larger)

    def _get(self, reference: Any, rank: int) -> Any:
        """Return what a rank answers.

        Raises:
            _MemberDied: If it died.
        """
        ray = load_ray()
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            raise _MemberDied(explain_death(error, self._whereabouts[rank]), error) from None

    def _ask_first(self, reference: Any) -> Any:
        """Return what the first rank answers, however long it takes; asked while Ray itself runs."""
        ray = load_ray()
        while not ray.wait([reference], timeout=0.5)[0]:
            interrupt.check()
            require_alive()
        return self._get(reference, 0)

    def _require_success(self, done: dict[Any, int], running: dict[Any, int]) -> None:
        """Raise what ended a team, if anything did.

        A rank whose peer is gone fails as well, often before anybody notices that the peer died or what it said.
        """
        ray = load_ray()
        try:
            for reference, rank in done.items():
                self._get(reference, rank)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, NasError):
                raise
            others = list(running)
            ended = ray.wait(others, num_returns=len(others), timeout=_PEERS_SECONDS)[0] if others else []
            errors = [
                failure for one in ended if (failure := self._failure_of(one, running[one])) is not None
            ]
            ours = [each for each in errors if isinstance(getattr(each, "cause", None), NasError)]
            deaths = [each for each in errors if isinstance(each, _MemberDied)]
            if not ours and not deaths and _is_of_peers(error.cause):
                raise _MemberDied(Death("the ranks lost their connection to each other"), error) from None
            raise [*ours, *deaths, error][0] from None

    def _failure_of(self, reference: Any, rank: int) -> Exception | None:
        ray = load_ray()
        try:
            self._get(reference, rank)
        except (ray.exceptions.RayTaskError, _MemberDied) as error:
            return error
        return None


def _position(progress: Any) -> float:
    """Return how far a rank is that reports a number, a pair that begins with one, or something with a ``step``."""
    number = getattr(progress, "step", progress)
    if isinstance(number, tuple):
        number = number[0]
    return float(number) if isinstance(number, int | float) else 0.0


def _is_of_peers(cause: BaseException | None) -> bool:
    """Return whether an error of a rank is that another one does not answer any more."""
    return isinstance(cause, distributed.DistError) or (
        isinstance(cause, RuntimeError) and any(name in str(cause) for name in ("gloo", "NCCL", "TCPStore"))
    )


def _rest(seconds: float) -> None:
    """Wait, as long as nobody interrupts."""
    end_of_rest = time.monotonic() + seconds
    while (left := end_of_rest - time.monotonic()) > 0:
        interrupt.check()
        time.sleep(min(left, 0.5))
