"""Worker processes that decode images, kept for the whole of a training.

A loader serves one reader at a time and is handed back when that is done; an epoch, its validation and the next epoch
use the same processes. What they read is told task by task, so nothing of a set is copied to them again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.augment import Augmentation
from nas.runtime import interrupt
from nas.runtime.private_folder import make_room_for_sockets
from search_spaces.errors import DataError, WorkError

#: Processes that decode at once, at most: about 200 images of 500x400 pixels a second each.
MAX_WORKERS = 8
#: Images that a process decodes at a time, and such tasks that wait for it or for the reader.
TASK_IMAGES, TASKS_AHEAD = 32, 4


@dataclass(frozen=True, slots=True)
class DecodingTask:
    """Some images to decode, for one process.

    Attributes:
        indices: Of the images, shape ``(B,)``.
        seeds: A seed for each image that is varied; None leaves them as they are.
        augmentation: How they are varied.
    """

    indices: np.ndarray[Any, np.dtype[np.int64]]
    seeds: tuple[int, ...] | None = None
    augmentation: Augmentation | None = None


#: Bytes ``(B, C, H, H)`` of a task, or why they cannot be had: an exception would reach the reader as a worker's
#: traceback.
Decode = Callable[[DecodingTask], Tensor | str]


@dataclass
class LoaderPool:
    """Loaders of one set of images.

    Attributes:
        decode: What their processes do; it can be pickled.
    """

    decode: Decode
    _idle: dict[bool, list[DataLoader[Any]]] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def read(self, tasks: Iterable[DecodingTask], pin_memory: bool) -> Iterator[Tensor]:
        """Yield the bytes of each task, in order, while the next ones are decoded.

        Args:
            tasks: What to decode; asked for as the processes go on.
            pin_memory: Whether the bytes go to a GPU.

        Raises:
            DataError: An image cannot be decoded.
            WorkError: A process was killed.
            Interrupted: It was, since the user asked to stop.
        """
        loader = self._take(pin_memory)
        loader.sampler.tasks = tasks  # type: ignore[attr-defined]
        usable = True
        try:
            for decoded in loader:
                if isinstance(decoded, str):
                    raise DataError(decoded)
                yield decoded
        # What torch raises when a process has ended by itself; an error in one arrives as its own type.
        except RuntimeError as error:
            usable = False
            if "DataLoader worker" not in str(error):
                raise
            interrupt.check()  # a terminal stops the processes with the one that reads
            raise WorkError(
                "a process that decodes images was killed, perhaps for want of memory; what is finished is kept: "
                "run the same command again"
            ) from error
        finally:
            loader.sampler.tasks = ()  # type: ignore[attr-defined]
            if usable:
                with self._lock:
                    self._idle.setdefault(pin_memory, []).append(loader)

    def _take(self, pin_memory: bool) -> DataLoader[Any]:
        with self._lock:
            if idle := self._idle.get(pin_memory):
                return idle.pop()
        make_room_for_sockets()
        return DataLoader(
            _Tasks(self.decode),
            sampler=_Feed(),
            batch_size=None,
            num_workers=min(MAX_WORKERS, os.cpu_count() or 1),
            prefetch_factor=TASKS_AHEAD,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            persistent_workers=True,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"decode": self.decode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["decode"])  # type: ignore[misc]


class _Feed:
    """The tasks of whoever reads now."""

    def __init__(self) -> None:
        self.tasks: Iterable[DecodingTask] = ()

    def __iter__(self) -> Iterator[DecodingTask]:
        return iter(self.tasks)


@dataclass(frozen=True)
class _Tasks(Dataset[Any]):
    decode: Decode

    def __getitem__(self, task: DecodingTask) -> Tensor | str:
        return self.decode(task)


def _as_it_is(decoded: Any) -> Any:
    return decoded
