"""What this machine, or the container that this process runs in, has and has left."""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Amount:
    """Bytes that there are, and bytes that are free."""

    total: int
    free: int


def measure_memory() -> Amount:
    """Return the memory that this process may use, within the limit of its container."""
    known = {}
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        known[name] = int(rest.split()[0]) * 1024
    total, free = known["MemTotal"], known["MemAvailable"]
    limit = read_words(Path("/sys/fs/cgroup/memory.max"))
    if limit is not None and limit[0] != "max":
        used = read_words(Path("/sys/fs/cgroup/memory.current"))
        total = min(total, int(limit[0]))
        free = min(free, total - int(used[0]) if used else total)
    return Amount(total, free)


def measure_disk(folder: Path) -> Amount:
    """Return the disk of a folder, or of the nearest folder above it that exists."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(existing)
    return Amount(usage.total, usage.free)


def measure_shared_memory() -> Amount:
    """Return the file system of shared memory, in which Ray keeps what workers share."""
    usage = shutil.disk_usage("/dev/shm")
    return Amount(usage.total, usage.free)


def format_bytes(amount: int) -> str:
    """Return an amount of memory for people."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / MIB:.0f} MiB"


def most_open_files() -> int:
    """Return how many files a process may raise its limit to."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 2**20 if most == resource.RLIM_INFINITY else most


def cache_folder() -> Path:
    """Return where decoded images are kept: ``NAS_CACHE_DIR``, else ``~/.cache/nas``."""
    return Path(os.environ.get("NAS_CACHE_DIR") or Path.home() / ".cache" / "nas")


def read_words(path: Path) -> list[str] | None:
    """Return the words of a file of one line, or None where there is none."""
    return path.read_text(encoding="utf-8").split() if path.exists() else None
