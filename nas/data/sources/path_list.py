"""Paths of many files in two arrays, which processes share instead of copying."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class PathList:
    """Paths, read by index.

    A million texts are a million objects whose reference counts are written when they are read: each worker process
    would copy them all in time. Arrays lie in memory once.

    Attributes:
        names: Bytes of all paths, one after another.
        ends: Where each of them ends, shape ``(N,)``.
    """

    names: np.ndarray[Any, np.dtype[np.uint8]]
    ends: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def from_texts(cls, paths: Iterable[str]) -> PathList:
        """Return these paths; names that are not UTF-8 keep their bytes."""
        encoded = [os.fsencode(path) for path in paths]
        ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = self.ends[index - 1] if index else 0
        return os.fsdecode(self.names[first : self.ends[index]].tobytes())
