"""Files of a study for workers on machines that do not have its folder.

On a cluster that somebody else started, the driver alone reads and writes the study: a worker borrows a folder of it,
as a copy in a place of its own, and what it changes there goes back through Ray, once a second and at the end. A
checkpoint counts as written when the driver has it. So nodes need neither a common file system nor the rights of the
driver's user, and a worker that outlives its driver cannot write into a study that another one has taken over.

An actor on the driver's node passes requests on; contents go from node to node through Ray's object store.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from nas.cluster.ray_cluster import is_connected, is_private, load_ray
from nas.runtime import interrupt
from nas.runtime.console import log
from nas.runtime.error_text import last_line
from nas.runtime.files import write_bytes
from nas.runtime.private_folder import PrivateFolder, sweep, temporary_places
from search_spaces.errors import NasError, WorkError

_LOOK_SECONDS = 1.0
_END_SECONDS = 10.0
_END = "end"  # the request after which the driver answers no more

#: Name of a file in a folder to its content as Ray's reference to bytes; to None where it is gone.
Contents = Mapping[str, Any]
#: What tells one state of a file from the next: when it changed, its length and its identity.
_Stamps = dict[str, tuple[int, int, int]]


class FolderWork(Protocol):
    """Work that reads and writes one folder of a study."""

    @property
    def folder(self) -> Path:
        """The folder."""
        ...

    def in_folder(self, folder: Path) -> Self:
        """Return the same work in another folder."""
        ...


W = TypeVar("W", bound=FolderWork)


class _Switch:
    """The actor between workers, which ask, and the driver, which can only ask as well: for the next request."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, request: Any) -> Any:
        number = secrets.token_hex(8)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._requests.put((number, request))
        return await self._answers[number]

    async def next(self) -> tuple[str, Any]:
        return await self._requests.get()

    async def answer(self, number: str, answer: Any) -> None:
        if (waiting := self._answers.pop(number, None)) is not None:
            waiting.set_result(answer)


@dataclass(frozen=True)
class StudyFiles:
    """What a worker reaches the driver's files by; it can be sent to any worker.

    Args:
        switch: The actor that passes requests on.
    """

    switch: Any

    def fetch(self, folder: Path) -> Contents:
        """Return the files of a folder of the study."""
        answer: Contents = self._ask("fetch", folder)
        return answer

    def store(self, folder: Path, changes: Contents) -> None:
        """Write and remove files of a folder of the study, in this order; they are on its disk when this returns.

        Raises:
            WorkError: If the driver cannot.
        """
        self._ask("store", folder, changes)

    def is_interrupted(self) -> bool:
        """Return whether the driver was asked to stop."""
        return bool(self._ask("is_interrupted"))

    def _ask(self, *request: Any) -> Any:
        answer = load_ray().get(self.switch.ask.remote(request))
        if isinstance(answer, NasError):
            raise answer
        return answer


class _Server:
    """The driver's side: answers requests about the folders below ``root``.

    Args:
        root: The study's folder.
        switch: The actor.
    """

    def __init__(self, root: Path, switch: Any) -> None:
        self._root, self._switch = root.resolve(), switch
        self._sent: dict[Path, tuple[tuple[int, int, int], Any]] = {}  # so that ranks share one copy

    def run(self) -> None:
        """Answer until the driver asks to end, or the actor is gone."""
        ray = load_ray()
        with contextlib.suppress(ray.exceptions.RayActorError):
            while True:
                number, (name, *arguments) = ray.get(self._switch.next.remote())
                if name == _END:
                    ray.get(self._switch.answer.remote(number, None))
                    return
                try:
                    answer = getattr(self, f"_{name}")(*arguments)
                except NasError as error:
                    answer = error
                except Exception as error:  # the worker that waits must hear of it
                    log.note(f"a worker's request '{name}' failed: {last_line(error)}")
                    answer = WorkError(f"the study's folder cannot be used: {last_line(error)}")
                self._switch.answer.remote(number, answer)

    def _fetch(self, folder: Path) -> Contents:
        folder, ray = self._require_inside(folder), load_ray()
        found = {}
        for name, stamp in _look(folder).items():
            path = folder / name
            if path not in self._sent or self._sent[path][0] != stamp:
                self._sent[path] = stamp, ray.put(np.fromfile(path, np.uint8))
            found[name] = self._sent[path][1]
        return found

    def _store(self, folder: Path, changes: Contents) -> None:
        folder = self._require_inside(folder)
        for name, content in changes.items():
            path = self._require_inside(folder / name)
            self._sent.pop(path, None)
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_bytes(path, load_ray().get(content).data)

    def _is_interrupted(self) -> bool:
        return interrupt.is_requested()

    def _require_inside(self, path: Path) -> Path:
        resolved = path.resolve()
        if not resolved.is_relative_to(self._root):
            raise WorkError(f"a worker asks for {path}, which is not in {self._root}")
        return resolved


@contextlib.contextmanager
def lending(root: Path) -> Iterator[StudyFiles | None]:
    """Let workers borrow folders of a study while the block runs; None on this machine, where they have them.

    Args:
        root: The study's folder.
    """
    if not is_connected() or is_private():
        yield None
        return
    ray = load_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    switch = (
        ray.remote(_Switch)
        .options(num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1)
        .remote()
    )
    thread = threading.Thread(target=_Server(root, switch).run, name="study files", daemon=True)
    thread.start()
    try:
        yield StudyFiles(switch)
    finally:
        with contextlib.suppress(ray.exceptions.RayError):
            # Of a call that a kill leaves without an answer, Ray prints that it is tried again for ever.
            ray.get(switch.ask.remote((_END,)), timeout=_END_SECONDS)
        thread.join(timeout=_END_SECONDS)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(switch)


def in_borrowed_folder(function: Callable[..., Any], files: StudyFiles | None) -> Callable[..., Any]:
    """Return a rank's function that works in a copy of its folder, where files are lent; as it is elsewhere.

    Args:
        function: ``(work, ..., rank, world size)``.
        files: What is lent, or None.
    """
    return function if files is None else functools.partial(_run_borrowing, function, files)


def _run_borrowing(function: Callable[..., Any], files: StudyFiles, work: Any, *others: Any) -> Any:
    rank = others[-2]
    with borrow(files, work, writes=rank == 0) as own:
        return function(own, *others)


@contextlib.contextmanager
def borrow(files: StudyFiles | None, work: W, *, writes: bool = True) -> Iterator[W]:
    """Yield the same work in a copy of its folder, whose changes go to the driver; as it is where nothing is lent.

    Args:
        files: What is lent, or None.
        work: The work.
        writes: Whether it changes the folder; other ranks of a team only read it.

    Raises:
        WorkError: If the driver cannot write what was changed.
        Interrupted: If it was asked to stop meanwhile.
    """
    if files is None:
        yield work
        return
    places = temporary_places()
    sweep(places)
    private = PrivateFolder(places)
    try:
        copy = private.path / work.folder.name
        copy.mkdir()
        for name, content in files.fetch(work.folder).items():
            write_bytes(copy / name, load_ray().get(content).data)
        if not writes:
            yield work.in_folder(copy)
            return
        returning = _Returning(files, work.folder, copy)
        try:
            yield work.in_folder(copy)
        finally:
            returning.finish()
    finally:
        private.remove()


class _Returning:
    """Sends what changes in a copy to the driver, from a thread of its own.

    Args:
        files: The driver's files.
        folder: The folder there.
        copy: The copy, as it is there.
    """

    def __init__(self, files: StudyFiles, folder: Path, copy: Path) -> None:
        self._files, self._folder, self._copy = files, folder, copy
        self._known = _look(copy)
        self._failure: NasError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="study files", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send what has changed last.

        Raises:
            WorkError: If the driver could not write something.
        """
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        self._send()

    def _run(self) -> None:
        ray = load_ray()
        try:
            while not self._ended.wait(_LOOK_SECONDS):
                self._send()
                if self._files.is_interrupted():
                    interrupt.request()
        except NasError as error:
            self._failure = error
        except ray.exceptions.RayError as error:
            self._failure = WorkError(f"the driver does not take the worker's files ({type(error).__name__})")
        if self._failure is not None:
            interrupt.request()  # hours of work that cannot be kept are not begun

    def _send(self) -> None:
        now = _look(self._copy)
        changed = [name for name, stamp in now.items() if self._known.get(name) != stamp]
        changes: dict[str, Any] = {}
        # In the order in which they were written: what says that others are complete comes after them.
        for name in sorted(changed, key=lambda name: now[name][0]):
            with contextlib.suppress(FileNotFoundError):  # replaced or removed since: the next look sees it
                changes[name] = load_ray().put(np.fromfile(self._copy / name, np.uint8))
        changes |= dict.fromkeys(self._known.keys() - now.keys())
        if changes:
            self._files.store(self._folder, changes)
        self._known = now


def _look(folder: Path) -> _Stamps:
    """Return the files of a folder, those aside that are being written."""
    stamps: _Stamps = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            if path.is_file() and not path.name.startswith("."):
                stamps[path.name] = state.st_mtime_ns, state.st_size, state.st_ino
    return stamps
