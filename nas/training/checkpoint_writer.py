"""Checkpoints that are written beside the training that they are of, the last two of which are kept.

The training waits while its state is copied to the host's memory and no longer; a thread writes the copy. How long a
copy takes decides how often there is one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from nas.runtime.files import save_tensors
from nas.training.former_checkpoint import former_checkpoint

#: Largest share of the time that a training spends on copying its state.
_LARGEST_SHARE = 0.03


class CheckpointWriter:
    """Writes the checkpoints of a training, one at a time, each atomically; the one before it stays beside it.

    The host's memory holds one more copy of the state from the first checkpoint on, page-locked for one on a GPU.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copies: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._copied_at, self._copy_seconds = monotonic(), 0.0

    def is_due(self, least_seconds: float) -> bool:
        """Return whether it is time for another checkpoint, which it never is while one is being written.

        Args:
            least_seconds: Least time between two.

        Raises:
            WorkError: If the last one could not be written.
        """
        self._raise_failure()
        if self._thread is not None and self._thread.is_alive():
            return False
        interval = seconds_between_copies(self._copy_seconds, least_seconds)
        return monotonic() - self._copied_at >= interval

    def start(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Copy a state and begin to write it, once the former one is written.

        Args:
            tensors: Name to tensor; they may change as soon as this returns.
            metadata: Strings of the file's header.

        Raises:
            WorkError: If the former one could not be written.
        """
        self.wait()
        started = monotonic()
        copies = self._copy(tensors)
        self._copied_at = monotonic()
        self._copy_seconds = self._copied_at - started
        self._thread = threading.Thread(target=self._write, args=(copies, dict(metadata)), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            WorkError: If it could not be written; what stood there before is intact.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise_failure()

    def _copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies in the host's memory, which is reused from one checkpoint to the next."""
        former, self._copies = self._copies, {}
        streams = set()
        for name, tensor in tensors.items():
            copy = former.get(name)
            if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
                copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            copy.copy_(tensor.detach(), non_blocking=True)
            self._copies[name] = copy
            if tensor.is_cuda:
                streams.add(torch.cuda.current_stream(tensor.device))
        for stream in streams:
            stream.synchronize()
        return self._copies

    def _write(self, copies: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        try:
            save_tensors(self._path, copies, metadata, former_checkpoint(self._path))
        except Exception as error:  # the training's thread raises it
            self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def seconds_between_copies(copy_seconds: float, least_seconds: float) -> float:
    """Return the time from the end of a copy to the next one, so that copying takes at most 3% of the time.

    Args:
        copy_seconds: How long the last one took.
        least_seconds: The least that is asked for.
    """
    return max(least_seconds, copy_seconds * (1 / _LARGEST_SHARE - 1))
