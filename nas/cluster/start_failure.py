"""Why Ray does not start, or a cluster does not let this process in: the true cause, and what to do about it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from nas.runtime.error_text import first_line, last_line

_MIB = 2**20
_LEAST_DISK = 50 * _MIB
_LOG_BYTES = 4000  # at the end of each of Ray's log files
_LOGS = ("gcs_server.err", "gcs_server.out", "raylet.err", "raylet.out")

#: What Ray or the system says, what that means, and the mend.
_CAUSES = (
    (
        r"AF_UNIX path|path length cannot exceed|name too long|too long for a Unix",
        "the path of its sockets is too long",
        "set RAY_TMPDIR to a short folder, for example RAY_TMPDIR=/tmp",
    ),
    (
        r"No space left on device|ENOSPC",
        "the disk for temporary files or /dev/shm is full",
        "free some space",
    ),
    (
        r"Disk quota exceeded",
        "the disk quota is used up",
        "free some space or set RAY_TMPDIR to another disk",
    ),
    (
        r"Too many open files|EMFILE",
        "the limit on open files is reached",
        "raise it with ulimit -n 65536 and run the same command again",
    ),
    (
        r"Resource temporarily unavailable|can't start new thread|pthread_create|EAGAIN",
        "the limit on processes and threads is reached",
        "raise it with ulimit -u, or end other programs",
    ),
    (
        r"Cannot allocate memory|std::bad_alloc|MemoryError|ENOMEM|shm_open|Bus error",
        "there is not enough memory, or /dev/shm is too small",
        "close other programs, or start the container with --shm-size=4g",
    ),
    (
        r"Permission denied|Operation not permitted|Read-only file system",
        "its folder for temporary files may not be used",
        "set RAY_TMPDIR to a folder that can be written",
    ),
)
_VERSION = re.compile(
    r"started with:\s*Ray:\s*(\S+)\s*Python:\s*(\S+).*?was started with:\s*Ray:\s*(\S+)\s*Python:\s*(\S+)",
    re.DOTALL,
)


def explain(error: BaseException, session: Path | None = None) -> str:
    """Return the cause of a failed start as ``what (as Ray says it); what to do``.

    Args:
        error: What Ray raised.
        session: Ray's folder, whose logs say more, or None.
    """
    said = "\n".join(map(str, _chain(error)))
    if versions := explain_versions(said):
        return versions
    for text in (said, *_read_logs(session)):
        for pattern, what, mend in _CAUSES:
            if found := re.search(pattern, text):
                line = next(each for each in text.splitlines() if found.group() in each).strip()
                return f"{what} ({line[-200:]}); {mend}"
    return f"{last_line(error)}; {_describe_machine(session)}"


def explain_refusal(address: str, error: BaseException, *, is_option: bool = False) -> str:
    """Return why a cluster that runs does not let this process in, and what to do.

    Args:
        address: Of the cluster.
        error: What Ray raised.
        is_option: Whether ``--ray-address`` named it, which comes before ``RAY_ADDRESS``.
    """
    said = "\n".join(map(str, _chain(error)))
    if versions := explain_versions(said):
        return f"the Ray cluster at {address} does not let this process in: {versions}"
    if any(word in said for word in ("InvalidAuthToken", "AuthenticationError", "UNAUTHENTICATED")):
        return (
            f"the Ray cluster at {address} asks for a token: set RAY_AUTH_MODE=token and give this machine the "
            "cluster's token"
        )
    return (
        f"the Ray cluster at {address} does not answer ({first_line(error)}); start it, or "
        f"{'give --ray-address local' if is_option else 'set RAY_ADDRESS=local'} to use this machine alone"
    )


def explain_versions(text: str) -> str | None:
    """Return how the versions of driver and cluster differ where that is what Ray says, else None."""
    if (found := _VERSION.search(text)) is None:
        return None
    cluster_ray, cluster_python, ray, python = found.groups()
    return (
        f"the cluster runs Ray {cluster_ray} with Python {cluster_python} and this process Ray {ray} with Python "
        f"{python}; install the same versions on both"
    )


def _describe_machine(session: Path | None) -> str:
    """Return what to do where Ray gives no reason, from what the machine is short of."""
    place = session if session is not None and session.exists() else Path("/tmp")
    if shutil.disk_usage(place).free < _LEAST_DISK:
        return f"free some disk at {place}"
    if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free < _LEAST_DISK:
        return "/dev/shm is full: free it, or start the container with --shm-size=4g"
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > 2 * cores:
        return f"{load:.0f} processes want this machine's {cores} CPU cores: run the same command again when fewer do"
    return "the ends of Ray's logs are in the study's log"


def read_log_ends(session: Path | None) -> str:
    """Return the ends of Ray's logs, which go with its folder."""
    return "\n".join(_read_logs(session))


def _read_logs(session: Path | None) -> Iterator[str]:
    for name in _LOGS if session is not None else ():
        for path in sorted(session.glob(f"session_2*/logs/{name}")) if session is not None else ():
            try:
                text = path.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
            except OSError:
                continue
            if text.strip():
                yield text


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return chain
