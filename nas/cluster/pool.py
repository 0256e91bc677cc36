"""A pool of workers on a Ray cluster that yields complete results whichever of its workers die."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import MAX_ATTEMPTS, load_ray, to_user_error
from nas.cluster.waiting import Wait
from nas.runtime import interrupt
from nas.runtime.console import log
from nas.runtime.device import DeviceType, start_worker
from nas.runtime.error_text import last_line
from search_spaces.errors import WorkError

_KILLER = f"it killed {MAX_ATTEMPTS} workers, most likely for lack of memory"


class _Worker:
    """The actor: one object that ``factory`` made, whose methods it calls."""

    def __init__(self, factory: Callable[..., Any], device: DeviceType, threads: int, payload: Any) -> None:
        self.instance = factory(payload, start_worker(device, threads).type)

    def ready(self) -> None:
        """Answer once the object is made."""

    def call(self, method: str, item: Any) -> Any:
        return getattr(self.instance, method)(item)


#: Returns further items for workers, and for each the worker that is best at it.
More = Callable[[], tuple[Sequence[Any], Sequence[int]]]


@dataclass(frozen=True)
class ItemResult:
    """The result of one item.

    Attributes:
        index: Index of the item among those given.
        value: What the method returned; None where it failed.
        failure: Why there is no value, in one line, or None.
    """

    index: int
    value: Any
    failure: str | None = None


class Pool:
    """Workers that each hold one object, spread over the cluster as an allocation says.

    Args:
        allocation: How many workers with what each.
        factory: ``(payload, device type) -> object``, an importable function or class.
        payload: What the factory needs; arrays in it are stored once per node and mapped by its workers.
    """

    def __init__(self, allocation: WorkerAllocation, factory: Callable[..., Any], payload: Any) -> None:
        self.allocation, self.factory = allocation, factory
        self.payload = load_ray().put(payload)
        self._actors: dict[Any, Any] = {}  # reference of a start or of a running call -> actor
        self._idle: list[Any] = []
        self._slots: dict[
            Any, int
        ] = {}  # actor -> its number among the workers, which its successor inherits
        self._starting: set[Any] = set()  # actors that are not ready yet
        self._waiting = Wait(allocation)
        self._failed_starts = 0  # workers in a row that died before they were ready
        for slot in range(allocation.workers):
            self._spawn(slot)

    def _spawn(self, slot: int) -> None:
        """Start a worker; it is idle once it is ready."""
        allocation = self.allocation
        actor_class = (
            load_ray()
            .remote(_Worker)
            .options(num_cpus=allocation.cpus_per_worker, num_gpus=allocation.gpus_per_worker)
        )
        actor = actor_class.remote(self.factory, allocation.device, allocation.threads, self.payload)
        self._actors[actor.ready.remote()] = actor
        self._starting.add(actor)
        self._slots[actor] = slot

    def map(
        self, method: str, items: Iterable[Any], preferred_workers: Sequence[int] = ()
    ) -> Iterator[ItemResult]:
        """Yield results as they come, each item exactly once, whatever workers die.

        An item at which the method raises, or that outlives several workers, has the reason in place of a value.

        Args:
            method: Name of the method of the held object to call.
            items: Its arguments.
            preferred_workers: For each item the worker (modulo their number) that is best at it, having cached
                what it has in common with earlier items. Another takes it only when it has nothing else to do.

        Raises:
            Interrupted: If the user asked to stop.
            WorkError: If workers cannot be started, or none starts for long.
        """
        for arrived in self.map_together(method, items, preferred_workers):
            yield from arrived

    def map_together(
        self,
        method: str,
        items: Iterable[Any],
        preferred_workers: Sequence[int] = (),
        more: More | None = None,
    ) -> Iterator[list[ItemResult]]:
        """Yield results as `map` does, those together that have come together.

        Workers have their next items before results are yielded, so that none waits for what is done with them.

        Args:
            method: See `map`.
            items: See `map`.
            preferred_workers: See `map`.
            more: Asked for further items, and their preferred workers, while all that are known have been given to
                workers; there may be none now and some later. Their indices go on from those of ``items``.
        """
        waiting, preferred = list(enumerate(items)), list(preferred_workers)
        running: dict[Any, tuple[int, Any]] = {}
        deaths: dict[int, int] = {}
        count = len(waiting)
        self._assign(method, waiting, running, preferred)
        while waiting or running:
            interrupt.check()
            self._waiting.check(self.allocation.workers - len(self._starting), self.allocation.workers)
            results = []
            for reference in self._wait_for_some():
                call = running.pop(reference, None)  # None where the worker's start has finished
                if (result := self._finish(reference, call, waiting, deaths)) is not None:
                    results.append(result)
            self._assign(method, waiting, running, preferred)
            if results:
                yield results
            if more is not None and not waiting:
                others, workers = more()
                waiting += enumerate(others, start=count)
                preferred += workers
                count += len(others)
                self._assign(method, waiting, running, preferred)

    def _assign(
        self,
        method: str,
        waiting: list[tuple[int, Any]],
        running: dict[Any, tuple[int, Any]],
        preferred_workers: Sequence[int],
    ) -> None:
        """Give idle workers items that are ``waiting``."""
        while waiting and self._idle:
            actor = self._idle.pop()
            task = waiting.pop(self._next_position(actor, waiting, preferred_workers))
            reference = actor.call.remote(method, task[1])
            self._actors[reference] = actor
            running[reference] = task

    def _wait_for_some(self) -> list[Any]:
        """Return the calls and starts that have ended, all of them, or none after half a second."""
        ray = load_ray()
        first, others = ray.wait(list(self._actors), num_returns=1, timeout=0.5)
        if not first or not others:
            return list(first)
        more, _ = ray.wait(others, num_returns=len(others), timeout=0)
        return [*first, *more]

    def _finish(
        self,
        reference: Any,
        call: tuple[int, Any] | None,
        waiting: list[tuple[int, Any]],
        deaths: dict[int, int],
    ) -> ItemResult | None:
        """Return the result of a call that has ended; None of a start, or where the item is ``waiting`` again."""
        ray, actor = load_ray(), self._actors.pop(reference)
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if call is None:
                raise to_user_error(error) from error
            log.note(str(error))
            # What it holds may be half changed, or its GPU be unusable for good.
            self._kill(actor)
            self._spawn(self._slots.pop(actor))
            return ItemResult(call[0], None, last_line(error.cause or error))
        except ray.exceptions.RayError as error:
            self._replace(actor, error, starting=call is None)
            if call is None:
                return None
            deaths[call[0]] = deaths.get(call[0], 0) + 1
            if deaths[call[0]] >= MAX_ATTEMPTS:
                return ItemResult(call[0], None, _KILLER)
            waiting.insert(0, call)
            return None
        self._failed_starts = 0
        self._starting.discard(actor)
        self._idle.append(actor)
        return None if call is None else ItemResult(call[0], value)

    def _next_position(
        self, actor: Any, waiting: list[tuple[int, Any]], preferred_workers: Sequence[int]
    ) -> int:
        """Return the position in ``waiting`` of the task that a worker does next."""
        if not preferred_workers:
            return 0
        slot, workers = self._slots[actor], self.allocation.workers
        own = (
            position
            for position, (index, _) in enumerate(waiting)
            if preferred_workers[index] % workers == slot
        )
        return next(own, len(waiting) - 1)

    def _replace(self, actor: Any, error: Exception, *, starting: bool) -> None:
        """Start a worker in place of one that died.

        Raises:
            WorkError: If it died ``starting``, as so many before it that the next would too.
        """
        log.note(f"a worker died ({type(error).__name__}); starting another")
        self._kill(actor)
        self._starting.discard(actor)
        if starting:
            self._failed_starts += 1
            if self._failed_starts >= max(MAX_ATTEMPTS, self.allocation.workers):
                raise WorkError(f"workers die while they start: {last_line(error)}") from None
        self._spawn(self._slots.pop(actor))

    def close(self) -> None:
        """End the workers."""
        for actor in (*self._idle, *self._actors.values()):
            self._kill(actor)
        self._idle, self._actors, self._slots, self._starting = [], {}, {}, set()

    @staticmethod
    def _kill(actor: Any) -> None:
        ray = load_ray()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(actor)
