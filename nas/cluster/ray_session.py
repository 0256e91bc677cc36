"""The folder and the token of the private Ray cluster that this process starts.

Ray makes its folders writable for everybody and its sockets reachable for every user of the machine. Here it works
in a folder that no other user can enter, and asks whoever connects for a token that lies there. A Unix socket's
path may have 107 bytes, of which Ray itself takes some 70: the folder is made where that fits, whatever TMPDIR is.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from nas.runtime.console import log
from nas.runtime.private_folder import (
    SOCKET_BYTES,
    PrivateFolder,
    longest_name,
    remove_tree,
    sweep,
    temporary_places,
)
from nas.runtime.secrets import ENVIRONMENT
from search_spaces.errors import WorkError

_RAY = "r"  # Ray's part of the folder, which it opens to everybody
#: What Ray adds to its folder: session_<date>_<time>_<microseconds>_<process>, and its longest socket.
_LONGEST_SOCKET = "/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.123"


def session_places() -> list[Path]:
    """Return the places for temporary files that are short enough for Ray's sockets and can be written."""
    return [
        place for place in temporary_places() if fits_sockets(place) and os.access(place, os.W_OK | os.X_OK)
    ]


def fits_sockets(place: Path) -> bool:
    """Return whether the sockets of a Ray that works in ``place`` have paths that the system takes."""
    return len(os.fsencode(place)) + longest_name() + len(_LONGEST_SOCKET) <= SOCKET_BYTES


def describe_missing_place() -> str | None:
    """Return why Ray finds no place for its sockets and what to do, or None where it finds one."""
    if session_places():
        return None
    places = ", ".join(map(str, temporary_places()))
    room = SOCKET_BYTES - longest_name() - len(_LONGEST_SOCKET)
    return (
        f"Ray's sockets find no place: none of {places} is a folder that can be written and has a path of at most "
        f"{room} bytes; set RAY_TMPDIR to one, for example RAY_TMPDIR=/dev/shm"
    )


def sweep_sessions() -> list[Path]:
    """Remove this user's folders of runs that were killed; return them."""
    return sweep(temporary_places())


@functools.cache
def session_folder() -> Path:
    """Return the folder that is given to Ray, made at the first call; it goes when this process ends.

    Folders of processes that were killed are removed first.

    Raises:
        WorkError: If it cannot be made.
    """
    places = session_places()
    for left in sweep_sessions():
        log.note(f"removed {left}, which a run that was killed had left")
    if not places:
        raise WorkError(describe_missing_place() or "")
    try:
        folder = PrivateFolder(places)
    except OSError as error:
        raise WorkError(
            f"Ray's folder cannot be made in {places[0]} ({error.strerror}); set RAY_TMPDIR to a folder that can be "
            "written"
        ) from None
    atexit.register(folder.remove)  # before Ray registers its own end, so that this one comes after it
    if (wanted := temporary_places()[0]) not in (places[0], Path("/tmp")):
        log.note(f"{wanted} is too long for Ray's sockets or cannot be written; they lie in {folder.path}")
    with open(_token_file(folder.path), "x", encoding="utf-8", opener=_open_for_owner) as file:
        file.write(secrets.token_hex(32))
    return folder.path / _RAY


def ask_for_token() -> None:
    """Let Ray, before it starts a private cluster, ask whoever connects for the token in the folder."""
    os.environ.pop("RAY_AUTH_TOKEN", None)  # of some other cluster
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file(session_folder().parent))
    os.environ.setdefault("RAY_AUTH_MODE", "token")


def clear_session() -> None:
    """Remove what an ended cluster has left in the folder; the next one of this process uses it again."""
    if session_folder.cache_info().currsize:
        remove_tree(session_folder())


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Keep secrets out of the environment of the processes that are started in the block."""
    kept = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _token_file(folder: Path) -> Path:
    return folder / "token"


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
