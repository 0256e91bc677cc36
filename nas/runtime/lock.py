"""A lock on a folder: one process at a time works there, and others are told who does.

It is the operating system's own (`flock`), so it ends with the process that holds it, however that ends. Network
file systems keep it as far as they implement flock: NFS does since Linux 2.6.12, Lustre if mounted with ``flock``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import json
import os
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nas.runtime.console import log
from nas.runtime.fence import put_up
from nas.runtime.secrets import redact_command
from search_spaces.errors import StudyError, WorkError

#: The lock's file in a folder.
LOCK_FILE = ".lock"

_PATIENCE = 1.0  # seconds in which somebody who only looks at a lock lets go of it
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_enforced: dict[tuple[int, int], bool] = {}  # locked file -> whether its file system keeps the lock
_held: dict[tuple[int, int], int] = {}  # file (device, inode) -> how often this process has locked it


class LockHeldError(StudyError):
    """Somebody else holds the lock."""

    page = "howto/resume.md#a-study-is-in-use"


@dataclass(frozen=True)
class Holder:
    """Who works somewhere.

    Args:
        user: Name of the user.
        host: Name of the machine.
        pid: Number of the process.
        since: When it began, UTC, ISO 8601.
        command: What it runs.
    """

    user: str
    host: str
    pid: int
    since: str
    command: str

    @classmethod
    def of_this_process(cls, command: Sequence[str]) -> Holder:
        """Return what describes this process."""
        return cls(
            _user(),
            socket.gethostname(),
            os.getpid(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            shlex.join(redact_command(command)),
        )

    def __str__(self) -> str:
        return f"{self.user} on {self.host}, process {self.pid}, since {self.since}: {self.command}"


@dataclass
class FolderLock:
    """The lock of a folder.

    Args:
        folder: The folder; it is made where it is absent and the lock is taken.
    """

    folder: Path
    #: Whether the file system keeps the lock; it is this command's alone then.
    enforced: bool = field(default=False, init=False)
    _file: tuple[int, int] | None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        """The lock's file."""
        return self.folder / LOCK_FILE

    def holder(self) -> str | None:
        """Return who holds the lock, in words, or None where nobody does; write nothing."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return None
        try:
            if _identify(handle) in _held:
                return None  # this very process
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(handle)
        except OSError:
            return None
        finally:
            os.close(handle)
        return None

    def require_free(self) -> None:
        """Check that nobody else holds the lock.

        Raises:
            LockHeldError: If somebody does; the sentence says who.
        """
        if (holder := self.holder()) is not None:
            raise LockHeldError(_refusal(self.folder, holder))

    @contextlib.contextmanager
    def hold(self, command: Sequence[str]) -> Iterator[None]:
        """Hold the lock while the block runs; a process may take it once more while it holds it.

        Args:
            command: What runs, for others to read.

        Raises:
            LockHeldError: If somebody else holds it.
            StudyError: If the folder cannot be written.
        """
        handle = self._open()
        try:
            key = self._file = _identify(handle)
            with contextlib.ExitStack() as stack:
                if key not in _held:
                    _enforced[key] = _lock(handle, self.folder)
                    _write_holder(handle, Holder.of_this_process(command))
                    stack.enter_context(put_up(self.folder))
                self.enforced = _enforced[key]
                _held[key] = _held.get(key, 0) + 1
                try:
                    yield
                finally:
                    _held[key] -= 1
                    if not _held[key]:
                        del _held[key], _enforced[key]
        finally:
            os.close(handle)

    def require_in_place(self) -> None:
        """Check that the locked folder still lies where it lay: others may move or delete it.

        Raises:
            WorkError: If it does not.
        """
        with contextlib.suppress(OSError):
            found = self.path.stat()
            if self._file in (None, (found.st_dev, found.st_ino)):
                return
        if self._file is not None:
            raise WorkError(
                f"{self.folder} was moved, replaced or deleted while this command worked in it; run the command again "
                "with the folder's new name as --study"
            )

    def _open(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StudyError(
                f"folder {self.folder} cannot be written ({error.strerror}); choose another --study or change its "
                "rights"
            ) from None


def _lock(handle: int, folder: Path) -> bool:
    """Lock an open file for this process alone; return whether its file system can."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise LockHeldError(_refusal(folder, _read_holder(handle))) from None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise StudyError(f"folder {folder} cannot be locked ({error.strerror}); try again") from None
            log.say(
                f"the file system of {folder} has no locks: see to it yourself that nobody else works there"
            )
            return False
        else:
            return True


def _refusal(folder: Path, holder: str) -> str:
    return f"{folder} is worked on by {holder}; wait for it, end it, or choose another --study"


def _write_holder(handle: int, holder: Holder) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock counts, not who holds it
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(holder)).encode(), 0)


def _read_holder(handle: int) -> str:
    try:
        return str(Holder(**json.loads(os.pread(handle, 2**16, 0))))
    except (OSError, ValueError, TypeError):
        return "another process"


def _identify(handle: int) -> tuple[int, int]:
    found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        return f"user {os.getuid()}"
