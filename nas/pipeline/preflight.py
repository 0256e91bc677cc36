"""What a run needs of its machine, checked before anything is trained.

Every check yields a sentence that says what is missing and the mend. What would stop the run is a problem, and all
problems are named at once; what may slow or stop it is a warning, and stands in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.cluster.ray_session import describe_missing_place, session_places
from nas.cluster.waiting import wait_limit
from nas.data.dataset import Data
from nas.runtime.files import require_writable
from nas.runtime.resources import (
    MIB,
    cache_folder,
    format_bytes,
    measure_disk,
    measure_memory,
    measure_shared_memory,
    most_open_files,
)
from nas.search.database_check import require_usable
from nas.training.footprint import count_supernet_parameters
from search_spaces.errors import NasError, RequestError
from search_spaces.space import Space

_TENSORS = (
    4  # of a checkpoint, each as large as the network: weights, their average, two moments of the optimizer
)
_FLOAT = 4  # bytes
_LEAST_DISK = 100 * MIB  # for logs, trials and a report
_SESSION_DISK = 200 * MIB  # for Ray's logs and what it moves out of memory
_LEAST_SHARED = 256 * MIB
_WORKER_MEMORY = 500 * MIB  # of a process that has imported torch, before it has any network
_FILES = 512  # open ones of Ray's own processes and of the driver
_FILES_PER_WORKER = 16


@dataclass(frozen=True)
class Preflight:
    """What was found of the machine.

    Args:
        problems: Sentences that say what stops the run.
        warnings: Sentences that say what may.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def require(self) -> None:
        """Refuse what cannot work.

        Raises:
            RequestError: If there are problems; its sentence holds all of them.
        """
        if len(self.problems) == 1:
            raise RequestError(self.problems[0])
        if self.problems:
            listed = "; ".join(f"({number}) {text}" for number, text in enumerate(self.problems, 1))
            raise RequestError(f"{len(self.problems)} things keep this from running: {listed}")

    def __add__(self, other: Preflight) -> Preflight:
        return Preflight(self.problems + other.problems, self.warnings + other.warnings)


def examine_machine(
    folder: Path, url: str | None, cluster: Cluster, allocation: WorkerAllocation
) -> Preflight:
    """Look at what every run needs, whatever it trains.

    Args:
        folder: Where its files will lie.
        url: The database of its trials, or None where it is not used.
        cluster: Where it will run.
        allocation: Its workers.
    """
    checks: list[Callable[[], str | None]] = [
        lambda: _refusal(lambda: require_writable(folder)),
        lambda: describe_little_disk(folder, 0, "the study"),
        lambda: None if url is None else _refusal(lambda: require_usable(url)),
        lambda: _refusal(lambda: wait_limit()),
    ]
    warnings: list[Callable[[], str | None]] = [_describe_cache]
    if not cluster.running:  # else Ray's place and its workers are elsewhere
        checks += [
            describe_missing_place,
            _describe_session_disk,
            lambda: _describe_files(allocation.workers),
        ]
        warnings += [_describe_shared_memory]
    return Preflight(_sentences(checks), _sentences(warnings))


def examine_search(
    folder: Path,
    space: Space,
    data: Data,
    cluster: Cluster,
    allocation: WorkerAllocation,
    *,
    trains: bool,
    checkpoints: int,
) -> Preflight:
    """Look at what the size of a search's supernet and of its images needs.

    Args:
        folder: The study's folder.
        space: What the supernet holds.
        data: The images.
        cluster: Where it will run.
        allocation: Its workers.
        trains: Whether the supernet is trained.
        checkpoints: How many lie there already.
    """
    network = count_supernet_parameters(space) * _FLOAT
    # A checkpoint is written beside the two before it.
    needed = _TENSORS * network * (3 - checkpoints) if trains else 0
    checks: list[Callable[[], str | None]] = [
        lambda: describe_little_disk(folder, needed, "the checkpoints of the supernet") if needed else None
    ]
    warnings: list[Callable[[], str | None]] = []
    if not cluster.running:
        warnings.append(lambda: _describe_memory(allocation.workers, network, _image_bytes(data)))
    return Preflight(_sentences(checks), _sentences(warnings))


def examine_retraining(folder: Path, parameters: list[float], modes: int) -> Preflight:
    """Look at what the checkpoints of retrained designs need.

    Args:
        folder: The study's folder.
        parameters: Of each design.
        modes: Trainings of each.
    """
    # The last two of each are kept, and a third is written beside them.
    needed = int(_TENSORS * _FLOAT * (2 * sum(parameters) * modes + max(parameters, default=0)))
    return Preflight(
        _sentences([lambda: describe_little_disk(folder, needed, "the checkpoints of the retrained designs")])
    )


def describe_little_disk(folder: Path, needed: int, purpose: str) -> str | None:
    """Return what to do where a disk has too little room, or None."""
    wanted, free = needed + _LEAST_DISK, measure_disk(folder).free
    if free >= wanted:
        return None
    return (
        f"{folder} has {format_bytes(free)} of disk free and {format_bytes(wanted)} are wanted for {purpose}; "
        "free some space or choose another --study"
    )


def _describe_session_disk() -> str | None:
    places = session_places()
    if not places or (free := measure_disk(places[0]).free) >= _SESSION_DISK:
        return None
    return (
        f"Ray wants {format_bytes(_SESSION_DISK)} of disk for temporary files and {places[0]} has "
        f"{format_bytes(free)} free; free some space or set RAY_TMPDIR to another folder"
    )


def _describe_files(workers: int) -> str | None:
    wanted, most = _FILES + _FILES_PER_WORKER * workers, most_open_files()
    if most >= wanted:
        return None
    return (
        f"{workers} workers want {wanted} open files and the limit is {most}; raise it with ulimit -Hn {wanted} or "
        "give a smaller --budget"
    )


def _describe_shared_memory() -> str | None:
    if not Path("/dev/shm").is_dir():
        return None
    if (free := measure_shared_memory().free) >= _LEAST_SHARED:
        return None
    return (
        f"/dev/shm has {format_bytes(free)} free, too little for what workers share, so that Ray uses the disk and is "
        "slow; start the container with --shm-size=4g"
    )


def _describe_cache() -> str | None:
    folder = cache_folder()
    if _refusal(lambda: require_writable(folder)) is None:
        return None
    return (
        f"the cache folder {folder} cannot be written, so that images are decoded anew each time; set NAS_CACHE_DIR "
        "to one that can"
    )


def _describe_memory(workers: int, network: int, images: int) -> str | None:
    # The driver holds the images once, Ray once more for all workers; each worker holds the network.
    wanted = workers * (_WORKER_MEMORY + network) + images
    if (free := measure_memory().free) >= wanted:
        return None
    return (
        f"{workers} workers want about {format_bytes(wanted)} of memory and {format_bytes(free)} are free; "
        f"give a smaller --budget, for example --budget {max(1, (free - images) // (_WORKER_MEMORY + network))}cpu, "
        "or close other programs"
    )


def _image_bytes(data: Data) -> int:
    pixels = data.in_channels * data.image_size * data.image_size
    return (len(data.train) + len(data.val)) * pixels


def _refusal(check: Callable[[], object]) -> str | None:
    try:
        check()
    except NasError as error:
        return str(error)
    return None


def _sentences(checks: list[Callable[[], str | None]]) -> tuple[str, ...]:
    return tuple(text for check in checks if (text := check()) is not None)
