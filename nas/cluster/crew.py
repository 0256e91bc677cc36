"""The workers of a pool: started, replaced where they die, after pauses where they die again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas.cluster.backoff import Backoff
from nas.cluster.budget import WorkerAllocation
from nas.cluster.deaths import Death, Whereabouts, explain_death
from nas.cluster.mandate import Mandate
from nas.cluster.ray_cluster import MAX_ATTEMPTS, is_connected, load_ray
from nas.cluster.waiting import Wait
from nas.runtime.console import duration, log
from nas.runtime.device import DeviceType, start_worker
from search_spaces.errors import WorkError


class _Actor:
    """The actor: one object that ``factory`` made, whose methods it calls."""

    def __init__(
        self,
        mandate: Mandate,
        factory: Callable[..., Any],
        device: DeviceType,
        threads: int,
        payload: Any,
    ) -> None:
        mandate.accept()
        self.instance = factory(payload, start_worker(device, threads).type)

    def whereabouts(self) -> Whereabouts:
        """Say where it runs, once the object is made."""
        return Whereabouts.of_this_worker()

    def call(self, method: str, item: Any) -> Any:
        return getattr(self.instance, method)(item)


@dataclass(eq=False)
class Worker:
    """A worker.

    Args:
        slot: Its number among the workers, which its successor inherits.
        actor: Ray's handle.
        whereabouts: Where it runs, once it has started.
    """

    slot: int
    actor: Any
    whereabouts: Whereabouts | None = None


class Crew:
    """Workers that each hold one object.

    Args:
        allocation: How many with what each.
        factory: ``(payload, device type) -> object``.
        payload: What the factory needs.
    """

    def __init__(self, allocation: WorkerAllocation, factory: Callable[..., Any], payload: Any) -> None:
        self.allocation, self._factory, self._payload = allocation, factory, payload
        self._backoff = Backoff()
        self.begin()

    def begin(self) -> None:
        """Start all workers on a cluster that has none of them: at first, and where it was started again."""
        self._stored = load_ray().put(self._payload)
        self._waiting = Wait(self.allocation)
        self.idle: list[Worker] = []
        self.starting: dict[Any, Worker] = {}  # reference of a start -> worker
        self._due: list[tuple[float, int]] = []  # when the worker of a slot is to be started
        self._failed_starts = 0  # workers in a row that died before they had started
        for slot in range(self.allocation.workers):
            self._start(slot)

    def _start(self, slot: int) -> None:
        """Start a worker; it is idle once it has started."""
        allocation = self.allocation
        actor_class = (
            load_ray()
            .remote(_Actor)
            .options(num_cpus=allocation.cpus_per_worker, num_gpus=allocation.gpus_per_worker)
        )
        actor = actor_class.remote(
            Mandate.for_workers(), self._factory, allocation.device, allocation.threads, self._stored
        )
        self.starting[actor.whereabouts.remote()] = Worker(slot, actor)

    def tend(self) -> None:
        """Start the workers that are due, and say what is waited for; to be called again and again.

        Raises:
            WorkError: If there has been no worker for long.
        """
        now = time.monotonic()
        for due in [each for each in self._due if each[0] <= now]:
            self._due.remove(due)
            self._start(due[1])
        workers = self.allocation.workers
        self._waiting.check(workers - len(self.starting) - len(self._due), workers)

    def has_started(self, reference: Any, whereabouts: Whereabouts) -> None:
        """Take note of a worker whose start has ended well."""
        worker = self.starting.pop(reference)
        worker.whereabouts = whereabouts
        self._failed_starts = 0
        self.idle.append(worker)

    def has_not_started(self, reference: Any, error: Exception) -> None:
        """Take note of a worker that died as it started.

        Raises:
            WorkError: If it is one of so many in a row that the next would die, too.
        """
        death = explain_death(error)
        if not death.of_node:
            self._failed_starts += 1
        if self._failed_starts >= max(MAX_ATTEMPTS, self.allocation.workers):
            log.note(str(error))
            raise WorkError(f"workers die while they start: {death.cause}") from None
        self.replace(self.starting.pop(reference), error, death)

    def has_worked(self, worker: Worker) -> None:
        """Take note of a worker that has done something."""
        self._backoff.reset()
        self.idle.append(worker)

    def replace(self, worker: Worker, error: Exception | None, death: Death) -> None:
        """Start another worker in place of one that died or is of no use any more, and say why.

        Args:
            worker: The worker.
            error: What Ray raised, for the log.
            death: Why it is replaced.
        """
        end(worker.actor)
        pause = self._backoff.pause()
        self._due.append((time.monotonic() + pause, worker.slot))
        when = f" in {duration(pause)}" if pause else ""
        log.say(f"a worker died: {death.cause}; another one is started{when}")
        if error is not None:
            log.note(str(error))

    def renew(self, worker: Worker) -> None:
        """Start another worker in place of one whose state cannot be trusted any more."""
        end(worker.actor)
        self._start(worker.slot)

    def close(self, busy: list[Worker]) -> None:
        """End all workers: those that are idle, that start, and that are busy."""
        for worker in (*self.idle, *self.starting.values(), *busy):
            end(worker.actor)
        self.idle, self.starting, self._due = [], {}, []


def end(actor: Any) -> None:
    """End an actor, whatever it does."""
    ray = load_ray()
    if is_connected():  # else Ray has ended, and would start another cluster to look for it there
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(actor)
