"""A fence around a folder: whoever was there before the present owner cannot replace a file in it any more.

Who takes the lock of a folder writes a new token into its fence. Processes that work for it know the token, and each
file that they replace there is renamed while the fence is held shut and has that token: of a driver that was killed,
workers may live on for a while, and write nothing once another driver has begun. Where the file system knows no locks
the token is compared all the same, and only the instant between that and the renaming is unguarded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import WorkError

#: The fence's file in a folder.
FENCE_FILE = ".fence"
_TOKEN_BYTES = 16
_PATIENCE = 30.0  # seconds in which a rename ends that was begun before

_standing: dict[str, Fence] = {}  # folder -> the fence that this process may pass


@dataclass(frozen=True)
class Fence:
    """The right to replace files of a folder.

    Args:
        folder: The folder, absolute and without symbolic links.
        token: What its fence holds while the right lasts.
    """

    folder: str
    token: str


class FencedError(WorkError):
    """Somebody else works in the folder now."""


@contextlib.contextmanager
def put_up(folder: Path) -> Iterator[None]:
    """Put a new fence around a folder whose lock is held; while the block runs, this process may pass it.

    Where it cannot be written, as on a full disk, there is none.
    """
    fence = Fence(os.path.realpath(folder), secrets.token_hex(_TOKEN_BYTES // 2))
    if not _write(fence):
        yield
        return
    _standing[fence.folder] = fence
    try:
        yield
    finally:
        _standing.pop(fence.folder, None)


def fences() -> tuple[Fence, ...]:
    """Return the fences that this process may pass, for those who work for it."""
    return tuple(_standing.values())


def adopt(those: Iterable[Fence]) -> None:
    """Pass the fences of who this process works for, from now on and as long as they stand."""
    _standing.update((fence.folder, fence) for fence in those)


@contextlib.contextmanager
def passing(path: Path) -> Iterator[None]:
    """Hold the fence around a file open while the block replaces it; without one that is known, just run the block.

    Raises:
        FencedError: If somebody else has put up a fence since, or the folder is gone.
    """
    fence = _fence_around(path)
    if fence is None:
        yield
        return
    try:
        handle = os.open(Path(fence.folder, FENCE_FILE), os.O_RDONLY)
    except OSError as error:
        raise FencedError(
            f"{path} is not written: its folder was moved or deleted ({error.strerror})"
        ) from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        if os.pread(handle, _TOKEN_BYTES, 0).decode(errors="replace") != fence.token:
            raise FencedError(f"{path} is not written: another command works in {fence.folder} now")
        yield
    finally:
        os.close(handle)


def _fence_around(path: Path) -> Fence | None:
    """Return the innermost fence around a path that this process knows."""
    if not _standing:
        return None
    parents = Path(os.path.realpath(path)).parents
    return next((_standing[str(folder)] for folder in parents if str(folder) in _standing), None)


def _write(fence: Fence) -> bool:
    """Write a fence once nobody passes the former one; return whether that went well."""
    try:
        handle = os.open(Path(fence.folder, FENCE_FILE), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    end = time.monotonic() + _PATIENCE
    try:
        while not _shut(handle) and time.monotonic() < end:
            time.sleep(0.05)
        os.pwrite(handle, fence.token.encode(), 0)
        os.fsync(handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _shut(handle: int) -> bool:
    """Lock a fence for this process alone; return whether nobody holds it open, or its file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
