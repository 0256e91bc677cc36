"""A temporary folder that no other user can enter, removed when its process has ended however that ended.

The process holds a lock on a file in it for as long as it lives. The next process that makes such a folder removes
those whose lock is free: one's own, and only of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

#: Of a Unix socket's path on Linux, the final zero left out.
SOCKET_BYTES = 107
_LISTENER = "/pymp-12345678/listener-12345678"  # what multiprocessing adds to the folder for temporary files
_LOCK = "owner"
#: Seconds for which a folder without a lock is taken for one that is being made.
_BEING_MADE = 60.0


def temporary_places() -> list[Path]:
    """Return the folders in which temporary files may lie, the user's choice first."""
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP")]
    places = [Path(each).absolute() for each in (*named, tempfile.gettempdir(), "/tmp", "/var/tmp") if each]
    return list(dict.fromkeys(places))


def make_room_for_sockets() -> None:
    """Let multiprocessing make its sockets where their paths fit, if those in the folder of TMPDIR do not.

    Workers of a data loader hand tensors over through them. The choice is this process's and its children's.
    """
    if len(os.fsencode(tempfile.gettempdir())) + len(_LISTENER) > SOCKET_BYTES:
        for place in temporary_places():
            if len(os.fsencode(place)) + len(_LISTENER) <= SOCKET_BYTES and os.access(
                place, os.W_OK | os.X_OK
            ):
                tempfile.tempdir = str(place)
                return


def longest_name() -> int:
    """Return the length in bytes of what is added to a place: ``/nas-<uid>-<id>``."""
    return len(f"/{_prefix()}12345678")


class PrivateFolder:
    """A folder of mode 0700 in the first of some places that takes it.

    Args:
        places: Where it may lie, best first.

    Raises:
        OSError: If no place takes it; the error is that of the first one.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.path = _make(places)
        # Locked before it has its name: whoever sees the name finds it locked.
        unnamed = self.path / f".{_LOCK}"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Remove the folder and all in it; processes that are just ending may add to it meanwhile."""
        remove_tree(self.path)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_tree(path: Path, seconds: float = 3.0) -> None:
    """Remove a folder to which processes that are just ending may still add."""
    end = time.monotonic() + seconds
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)
        if time.monotonic() > end:
            return
        time.sleep(0.05 if path.exists() else 0)


def sweep(places: Sequence[Path]) -> list[Path]:
    """Remove this user's private folders whose processes have died; return them."""
    removed = []
    for place in places:
        for folder in sorted(place.glob(f"{_prefix()}*")) if place.is_dir() else ():
            if _is_abandoned(folder):
                remove_tree(folder)
                removed.append(folder)
    return removed


def _is_abandoned(folder: Path) -> bool:
    try:
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            return False
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return folder.is_dir() and time.time() - state.st_mtime > _BEING_MADE
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its process lives
    finally:
        os.close(lock)
    return True


def _make(places: Sequence[Path]) -> Path:
    problem = OSError("there is no place for it")
    for attempt, place in enumerate(places):
        folder = place / f"{_prefix()}{secrets.token_hex(4)}"
        try:
            folder.mkdir(mode=0o700)
            return folder
        except OSError as error:
            if attempt == 0:
                problem = error
    raise problem


def _prefix() -> str:
    return f"nas-{os.getuid()}-"
