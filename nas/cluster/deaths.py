"""Why a worker died, in one line: what Ray says of it, and what its machine and its own log add.

Ray knows that a process is gone and seldom why: what a signal ended has written to its log where it could, and the
kernel counts what it kills for lack of memory.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.cluster.ray_cluster import load_ray
from nas.runtime.error_text import first_line, last_line
from nas.runtime.processes import process_place

_LOG_BYTES = 20_000  # at the end of a dead worker's log
#: What a process writes that ends itself: Python's and Ray's handlers of signals, C++, an exception in a thread.
_LAST_WORDS = re.compile(
    r"Fatal Python error: .*|\*\*\* SIG\w+ received|terminate called .*|CUDA error: .*|.*[Oo]ut of memory.*"
)
_EXIT_CODE = re.compile(r"exit code (-?\d+)")
_ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")
#: What Ray says of a worker whose process that asked for it refuses all calls of the cluster: it has a token for them,
#: and the cluster none.
_UNREACHABLE = "all references to the actor were removed"
_TOKENS = (
    "the cluster cannot reach this process, most likely since one of them asks for a token and the other has none; "
    "set RAY_AUTH_MODE=disabled if the cluster was started without, or start it with RAY_AUTH_MODE=token"
)
_VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True)
class Whereabouts:
    """Where a worker runs, as it says when it has started.

    Args:
        place: Tells its machine and container from others.
        host: The address of its node.
        node: Ray's id of its node.
        pid: Number of its process.
        log: The file that its standard error goes to, or an empty string.
        log_bytes: How long that was.
        kernel_kills: How many processes the kernel of its machine had killed for lack of memory.
    """

    place: str
    host: str
    node: str
    pid: int
    log: str
    log_bytes: int
    kernel_kills: int

    @classmethod
    def of_this_worker(cls) -> Whereabouts:
        """Return where this process runs, which Ray has started."""
        ray = load_ray()
        log = os.readlink("/proc/self/fd/2")
        size = os.path.getsize(log) if os.path.isfile(log) else 0
        return cls(
            process_place(),
            str(ray.util.get_node_ip_address()),
            ray.get_runtime_context().get_node_id(),
            os.getpid(),
            log,
            size,
            _count_kernel_kills(),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Death:
    """How a worker ended.

    Args:
        cause: Why, in words that follow "a worker died: ".
        of_node: Whether its node went with it, which is no fault of what it worked on.
        by_itself: Whether it raised an error as it started: another one would, too.
    """

    cause: str
    of_node: bool = False
    by_itself: bool = False


def explain_death(error: BaseException, worker: Whereabouts | None = None) -> Death:
    """Return how a worker ended.

    Args:
        error: What Ray raised of it.
        worker: Where it ran, if it had started.
    """
    exceptions, said = load_ray().exceptions, str(error)
    whose = "" if worker is None else f" ({worker})"
    if isinstance(error, exceptions.RayTaskError):
        cause: Any = error.cause or error
        return Death(f"it raised {type(cause).__name__}: {last_line(cause)}")
    if "creation task" in said:
        return Death(f"it failed as it started: {_error_line(said)}", by_itself=True)
    if _UNREACHABLE in said:
        return Death(_TOKENS, by_itself=True)
    if isinstance(error, exceptions.OutOfMemoryError) or "low on memory" in said:
        return Death(f"Ray ended it{whose}, as the memory of its node was nearly used up")
    if isinstance(error, exceptions.ActorUnavailableError):
        node = "its node" if worker is None else f"the node at {worker.host}"
        return Death(f"{node} is gone or cannot be reached", of_node=True)
    if any(
        each in said for each in ("node has died", "node was terminated", "node has crashed", "preempted")
    ):
        node = "its node" if worker is None else f"the node at {worker.host}"
        return Death(f"{node} is gone", of_node=True)
    if found := _EXIT_CODE.search(said):
        return Death(f"it ended with exit code {found[1]}{whose}{_last_words(worker)}")
    if "ray.kill" in said:
        return Death(f"it was ended on purpose{whose}")
    if (
        "process has died" in said
        or "unexpectedly" in said
        or isinstance(error, exceptions.WorkerCrashedError)
    ):
        return _explain_silence(worker, whose)
    return Death(f"{type(error).__name__}: {first_line(error)}{whose}")


def _explain_silence(worker: Whereabouts | None, whose: str) -> Death:
    """Return how a process ended that Ray only knows to be gone."""
    if words := _last_words(worker):
        return Death(f"it crashed{whose}{words}")
    if worker is not None and worker.place == process_place() and _count_kernel_kills() > worker.kernel_kills:
        return Death(f"it was killed{whose} when the kernel ended processes for lack of memory")
    return Death(f"it was killed{whose}, by hand or for lack of memory")


def _last_words(worker: Whereabouts | None) -> str:
    """Return what a process wrote as it ended, with a comma before it; nothing where that is unknown."""
    if worker is None or worker.place != process_place() or not worker.log:
        return ""
    try:
        with open(worker.log, "rb") as file:
            file.seek(max(worker.log_bytes, os.path.getsize(worker.log) - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    found = _LAST_WORDS.findall(text)
    return f", {found[0].strip()[:200]}" if found else ""


def _error_line(text: str) -> str:
    """Return the line of a traceback that names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR_LINE.match(line)]
    return (named or lines or ["unknown"])[-1][:300]


def _count_kernel_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since it started; 0 where it does not say."""
    try:
        lines = _VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
