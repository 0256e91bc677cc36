"""Tensors on disk that only save time: wrong or absent ones are computed again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from nas.runtime.files import load_tensors, save_tensors
from search_spaces.errors import CheckpointError, WorkError


def load_or_compute(path: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors stored at ``path``; compute and store them where they are absent or damaged."""
    tensors = _read(path)
    if tensors is None:
        tensors = compute()
        # A home that cannot be written must not stop the work.
        with contextlib.suppress(WorkError):
            save_tensors(path, tensors)
    return tensors


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return what is stored at ``path`` if it is what was written there."""
    try:
        return load_tensors(path)[0]
    except CheckpointError:
        return None
