"""A pool of workers on a Ray cluster that yields complete results whichever of its workers die.

An item whose worker died is given to another; one that kills workers is given up. Where workers have nothing else to
do they do once more what takes far longer elsewhere than items usually take, and the first answer counts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.cluster.budget import WorkerAllocation
from nas.cluster.crew import Crew, Worker
from nas.cluster.deaths import explain_death
from nas.cluster.lifeline import ClusterLost
from nas.cluster.ray_cluster import load_ray, require_alive, to_user_error
from nas.cluster.recovery import Recovery
from nas.cluster.stragglers import Durations
from nas.runtime import interrupt
from nas.runtime.console import duration, log
from nas.runtime.error_text import last_line

#: Workers that an item may kill before it is given up.
MOST_DEATHS = 2
_POLL_SECONDS = 0.5
_SERVE_SECONDS = 0.02


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


@dataclass(eq=False)
class _Batch:
    """Items on their way through the pool.

    Args:
        method: Name of the method of the held object that is called.
        repeatable: Whether an item may be done by two workers at once.
        more: Returns further items.
        most_deaths: Returns how many workers an item may kill.
    """

    method: str
    repeatable: bool
    more: More | None
    most_deaths: Callable[[Any], int]
    added: int = 0  # items so far
    waiting: list[tuple[int, Any]] = field(
        default_factory=list
    )  # items that no worker has, with their indices
    preferred_workers: list[int] = field(
        default_factory=list
    )  # of each item; empty where none is better than others
    open: set[int] = field(default_factory=set)  # items without a result
    deaths: dict[int, int] = field(default_factory=dict)
    arrived: list[ItemResult] = field(default_factory=list)  # results that were not yielded yet

    def add(self, items: Iterable[Any], preferred_workers: Sequence[int]) -> None:
        """Add items, whose indices go on from those of earlier ones."""
        added = list(enumerate(items, start=self.added))
        self.added += len(added)
        self.waiting += added
        self.preferred_workers += preferred_workers
        self.open.update(index for index, _ in added)

    def finish(self, result: ItemResult) -> None:
        """Note the result of an item, the first that came."""
        self.open.discard(result.index)
        self.arrived.append(result)

    def refill(self) -> None:
        """Ask for further items where all that are known have been given to workers."""
        if self.more is not None and not self.waiting:
            self.add(*self.more())


@dataclass(frozen=True)
class _Call:
    """An item that a worker has.

    Args:
        worker: The worker.
        batch: What the item belongs to; it may have ended meanwhile.
        index: Index of the item.
        item: The item.
        since: When the worker got it.
    """

    worker: Worker
    batch: _Batch
    index: int
    item: Any
    since: float

    @property
    def is_wanted(self) -> bool:
        """Whether nobody else has answered it."""
        return self.index in self.batch.open


class Pool:
    """Workers that each hold one object, spread over the cluster as an allocation says.

    Args:
        allocation: How many workers with what each.
        factory: ``(payload, device type) -> object``, an importable function or class.
        payload: What the factory needs; arrays in it are stored once per node and mapped by its workers.
        crew: What starts and replaces the workers.
    """

    def __init__(
        self,
        allocation: WorkerAllocation,
        factory: Callable[..., Any],
        payload: Any,
        crew: type[Crew] = Crew,
    ) -> None:
        self.allocation = allocation
        self._crew = crew(allocation, factory, payload)
        self._calls: dict[Any, _Call] = {}  # reference of a running call -> the call
        self._durations: dict[str, Durations] = {}
        self._recovery = Recovery()
        self._batch: _Batch | None = None  # whose results are being iterated over
        self._served = 0.0  # when `serve` looked for answers

    def map(
        self,
        method: str,
        items: Iterable[Any],
        preferred_workers: Sequence[int] = (),
        *,
        repeatable: bool = False,
        most_deaths: Callable[[Any], int] = lambda _: MOST_DEATHS,
    ) -> Iterator[ItemResult]:
        """Yield results as they come, each item exactly once, whatever workers die.

        An item at which the method raises, or that outlives several workers, has the reason in place of a value.

        Args:
            method: Name of the method of the held object to call.
            items: Its arguments.
            preferred_workers: For each item the worker (modulo their number) that is best at it, having cached
                what it has in common with earlier items. Another takes it only when it has nothing else to do.
            repeatable: Whether two workers may do an item at once, since it changes nothing: one that is late is given
                to a second worker where one is idle, and the first answer counts.
            most_deaths: Returns how many workers an item may kill. One whose node goes with it does not count.

        Raises:
            Interrupted: If the user asked to stop.
            WorkError: If workers cannot be started, or none starts for long, or another's cluster has ended.
        """
        for arrived in self.map_together(
            method, items, preferred_workers, repeatable=repeatable, most_deaths=most_deaths
        ):
            yield from arrived

    def map_together(
        self,
        method: str,
        items: Iterable[Any],
        preferred_workers: Sequence[int] = (),
        more: More | None = None,
        *,
        repeatable: bool = False,
        most_deaths: Callable[[Any], int] = lambda _: MOST_DEATHS,
    ) -> Iterator[list[ItemResult]]:
        """Yield results as `map` does, those together that have come together.

        Workers have their next items before results are yielded, so that none waits for what is done with them.

        Args:
            method: See `map`.
            items: See `map`.
            preferred_workers: See `map`.
            more: Asked for further items, and their preferred workers, while all that are known have been given to
                workers; there may be none now and some later. Their indices go on from those of ``items``.
            repeatable: See `map`.
            most_deaths: See `map`.
        """
        batch = self._batch = _Batch(method, repeatable, more, most_deaths)
        batch.add(items, preferred_workers)
        for call in self._calls.values():  # of items that nobody waits for any more
            call.batch.open.clear()
        try:
            while batch.open or batch.arrived:
                interrupt.check()
                try:
                    require_alive()
                    self._crew.tend()
                    self._hand_out(batch)
                    self._take_answers(0 if batch.arrived else _POLL_SECONDS)
                    self._hand_out(batch)
                    self._repeat_late_calls(batch)
                except ClusterLost as lost:
                    self._recover(batch, lost)
                if batch.arrived:
                    results, batch.arrived = batch.arrived, []
                    yield results
                batch.refill()
        finally:
            if self._batch is batch:  # else another has begun before this one was given up
                self._batch = None

    def serve(self) -> None:
        """Give workers that have answered what they do next, while whoever iterates over results does other work.

        To be called again and again in the midst of that work: it looks at the workers every 20 ms at most. Their
        answers are among the next results.
        """
        batch, now = self._batch, time.monotonic()
        if batch is not None and now >= self._served + _SERVE_SECONDS:
            with contextlib.suppress(ClusterLost):  # what is left is seen to when results are asked for again
                self._take_answers(0)
                batch.refill()
                self._hand_out(batch)
            self._served = time.monotonic()

    def _take_answers(self, seconds: float) -> None:
        """Take note of all that has ended, after so many seconds at most where nothing has."""
        for reference in self._await_some(seconds):
            self._take(reference)

    def _hand_out(self, batch: _Batch) -> None:
        """Give items to idle workers."""
        crew = self._crew
        while batch.waiting and crew.idle:
            worker = crew.idle.pop()
            self._call(worker, batch, *batch.waiting.pop(self._next_position(worker, batch)))

    def _repeat_late_calls(self, batch: _Batch) -> None:
        """Give what is late to workers that have nothing else to do; to be called when all answers were taken."""
        crew = self._crew
        if batch.repeatable and crew.idle and not batch.waiting:
            for late in self._late_calls(batch)[: len(crew.idle)]:
                log.say(
                    f"the worker of {late.worker.whereabouts} has not answered for "
                    f"{duration(time.monotonic() - late.since)}; another one does its work, and the first answer counts"
                )
                self._call(crew.idle.pop(), batch, late.index, late.item)

    def _call(self, worker: Worker, batch: _Batch, index: int, item: Any) -> None:
        reference = worker.actor.call.remote(batch.method, item)
        self._calls[reference] = _Call(worker, batch, index, item, time.monotonic())

    def _late_calls(self, batch: _Batch) -> list[_Call]:
        """Return the latest call of each item whose calls are all late, the longest first."""
        late_after = self._durations.setdefault(batch.method, Durations()).late_after()
        if late_after is None:
            return []
        latest: dict[int, _Call] = {}
        for call in self._calls.values():
            if call.batch is batch and call.is_wanted:
                known = latest.get(call.index, call)
                latest[call.index] = max(known, call, key=lambda each: each.since)
        begun = time.monotonic() - late_after
        return sorted((call for call in latest.values() if call.since < begun), key=lambda each: each.since)

    def _await_some(self, seconds: float) -> list[Any]:
        """Return references of starts and calls that have ended, after so many seconds at most."""
        references = [*self._crew.starting, *self._calls]
        if not references:  # all have died, and their successors are not due yet
            time.sleep(seconds)
            return []
        ray = load_ray()
        first, others = ray.wait(references, num_returns=1, timeout=seconds)
        if not first or not others:
            return list(first)
        more, _ = ray.wait(others, num_returns=len(others), timeout=0)
        return [*first, *more]

    def _take(self, reference: Any) -> None:
        """Take note of what has ended, and of the result of an item that has one now."""
        ray, crew = load_ray(), self._crew
        call = self._calls.pop(reference, None)
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if call is None:
                raise to_user_error(error) from error
            log.note(str(error))
            # What it holds may be half changed, or its GPU be unusable for good.
            crew.renew(call.worker)
            if call.is_wanted:
                call.batch.finish(ItemResult(call.index, None, last_line(error.cause or error)))
        except ray.exceptions.RayError as error:
            if call is None:
                crew.has_not_started(reference, error)
            else:
                self._bury(call, error)
        else:
            if call is None:
                crew.has_started(reference, value)
                return
            crew.has_worked(call.worker)
            if call.is_wanted:  # else another worker was faster, or nobody wants the result any more
                self._recovery.has_advanced()
                self._durations.setdefault(call.batch.method, Durations()).add(time.monotonic() - call.since)
                call.batch.finish(ItemResult(call.index, value))

    def _bury(self, call: _Call, error: Exception) -> None:
        """Replace a worker that died at an item; the item is given to another one, or given up."""
        death, batch = explain_death(error, call.worker.whereabouts), call.batch
        self._crew.replace(call.worker, error, death)
        if not call.is_wanted:
            return
        batch.deaths[call.index] = batch.deaths.get(call.index, 0) + (not death.of_node)
        if batch.deaths[call.index] >= batch.most_deaths(call.item):
            died = batch.deaths[call.index]
            killed = f"{died} workers" if died > 1 else "a worker"
            batch.finish(ItemResult(call.index, None, f"it killed {killed}: {death.cause}"))
        elif not any(other.batch is batch and other.index == call.index for other in self._calls.values()):
            batch.waiting.insert(0, (call.index, call.item))

    def _recover(self, batch: _Batch, lost: ClusterLost) -> None:
        """Go on where Ray itself has ended, with workers on one that is started again.

        Raises:
            ClusterLost: If it is another's, or ends again and again.
        """
        busy, self._calls = self._calls, {}
        self._recovery.restart(lost)
        begun = {call.index: call.item for call in busy.values() if call.batch is batch and call.is_wanted}
        batch.waiting = [*begun.items(), *batch.waiting]
        self._crew.begin()

    def _next_position(self, worker: Worker, batch: _Batch) -> int:
        """Return the position among the waiting items of the one that a worker does next."""
        if not batch.preferred_workers:
            return 0
        workers = self.allocation.workers
        own = (
            position
            for position, (index, _) in enumerate(batch.waiting)
            if batch.preferred_workers[index] % workers == worker.slot
        )
        return next(own, len(batch.waiting) - 1)

    def close(self) -> None:
        """End the workers."""
        self._crew.close([call.worker for call in self._calls.values()])
        self._calls = {}
