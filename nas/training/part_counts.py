"""Counts of what parts save, kept on disk: a part is counted once on a machine, whatever space or batch it is in.

Counting for a GPU takes minutes on a busy machine, and nothing but the part, the kind of device, the versions of the
libraries and this project's code decides what is counted. All of these are in the name of an entry or of its file, so
an entry that is found is right. A file that is damaged, or cannot be written, only costs the time.
"""

from __future__ import annotations

import contextlib
import json
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import search_spaces
import supernet
from nas.runtime.files import write_json
from nas.runtime.resources import cache_folder
from search_spaces.errors import WorkError

_LIBRARIES = ("torch", "timm")


class PartCounts:
    """Entries of one kind of device, as plain data.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: Type of products.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        kind = f"{device.type}-{str(dtype).removeprefix('torch.')}"
        self.path = cache_folder() / "saved_memory" / f"{kind}-{digest_code()}.json"
        self._entries: dict[str, Any] = _read(self.path)
        self._has_new = False

    def get(self, part: object) -> Any:
        """Return the entry of a part, which its ``repr`` tells from others, or None."""
        return self._entries.get(_name(part))

    def add(self, part: object, entry: Any) -> None:
        """Keep an entry in memory."""
        self._entries[_name(part)] = entry
        self._has_new = True

    def save(self) -> None:
        """Write what was added; what another process has written meanwhile stays."""
        if not self._has_new:
            return
        with contextlib.suppress(WorkError):
            write_json(self.path, _read(self.path) | self._entries)
            self._has_new = False


@lru_cache(maxsize=1)
def digest_code() -> str:
    """Return a digest of what decides a count: the code of networks and of counting, and the libraries' versions."""
    digest = sha256(" ".join(metadata.version(name) for name in _LIBRARIES).encode())
    digest.update(torch.backends.cpu.get_cpu_capability().encode())  # by which a CPU's attention is chosen
    code = [Path(__file__).with_name(name) for name in ("saved_memory.py", "fake_tensors.py")]
    for package in (search_spaces, supernet):
        code += sorted(path for folder in package.__path__ for path in Path(folder).rglob("*.py"))
    for path in code:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _name(part: object) -> str:
    return sha256(repr(part).encode()).hexdigest()[:32]
