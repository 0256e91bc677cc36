"""Long jobs side by side: only a death is tried again, and an interruption waits until what runs has saved."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.cluster.teams import Teams
from nas.cluster.trials import run_trials
from nas.runtime import interrupt
from search_spaces.errors import DataError, NasError, WorkError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore::DeprecationWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",  # of a Ray that a busy machine started in a second attempt
    ),
]

Report = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """Ray as a search starts it."""
    patch = pytest.MonkeyPatch()
    root = str(Path(__file__).parents[3])
    patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    ray_cluster.start(Cluster(2, 0, "this machine", running=False))
    yield
    ray_cluster.stop()
    patch.undo()


def teams(jobs: int, size: int) -> Teams:
    """Teams of two cores in all."""
    count = min(jobs, 2 // size)
    return Teams(jobs, count, size, 2, WorkerAllocation(size, 1.0, 0.0, "cpu"))


def count(folder: Path, name: str) -> int:
    """Add one to a count that outlives its process, and return it."""
    with open(folder / name, "a", encoding="utf-8") as file:
        file.write("x")
        return file.tell()


def diverge(job: str, folder: Path, device: torch.device, on_result: Report, rank: int, world: int) -> None:
    """Fail as the last rank with an error of ours; the others notice that it is gone."""
    if rank == world - 1:
        count(folder, "starts")
        raise DataError(f"{job} has no images") if job == "images" else WorkError("the loss is not finite")
    distributed.barrier()


def go_wrong(job: str, folder: Path, device: torch.device, on_result: Report, rank: int, world: int) -> None:
    """Fail with an error that nobody foresaw."""
    count(folder, "starts")
    raise ValueError("a wrong value")


def die_once(job: str, folder: Path, device: torch.device, on_result: Report, rank: int, world: int) -> None:
    """Die as the last rank at the first start; the others notice."""
    if rank == world - 1 and count(folder, "starts") == 1:
        os._exit(1)
    if world > 1:
        distributed.barrier()
    on_result({"name": job})
    time.sleep(1)  # for the trial to ask for what is new


def save_when_interrupted(
    job: str, folder: Path, device: torch.device, on_result: Report, rank: int, world: int
) -> None:
    """Compute until an interruption, whose answer takes a while, as that of a training."""
    (folder / f"{job}-{rank}-runs").touch()
    while not interrupt.is_requested():
        time.sleep(0.05)
    time.sleep(2)
    (folder / f"{job}-{rank}-saved").touch()
    interrupt.check()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    ("job", "kind", "message"),
    [("loss", WorkError, "the loss is not finite"), ("images", DataError, "images has no images")],
)
def test_an_error_of_ours_ends_all_at_once_and_is_said_as_it_is(
    job: str, kind: type[NasError], message: str, size: int, ray: None, tmp_path: Path
) -> None:
    with pytest.raises(NasError) as caught:
        run_trials(diverge, [job], tmp_path, teams(1, size), str(tmp_path / "tune"), lambda result: None)
    assert type(caught.value) is kind and str(caught.value) == message
    assert (tmp_path / "starts").stat().st_size == 1


@pytest.mark.parametrize("size", [1, 2])
def test_an_error_that_nobody_foresaw_is_not_tried_again(size: int, ray: None, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"a worker failed: .*a wrong value"):
        run_trials(go_wrong, ["a"], tmp_path, teams(1, size), str(tmp_path / "tune"), lambda result: None)
    assert (tmp_path / "starts").stat().st_size == size


@pytest.mark.parametrize("size", [1, 2])
def test_a_death_is_tried_again(size: int, ray: None, tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    run_trials(die_once, ["a"], tmp_path, teams(1, size), str(tmp_path / "tune"), results.append)
    assert results[-1]["name"] == "a" and (tmp_path / "starts").stat().st_size == 2


@pytest.mark.parametrize(("jobs", "size"), [(3, 1), (1, 2)])
def test_an_interruption_waits_for_what_is_being_saved(
    jobs: int, size: int, ray: None, tmp_path: Path
) -> None:
    names = [f"job{number}" for number in range(jobs)]
    running = 2 if size == 1 else 1  # jobs at once

    def interrupt_soon() -> None:
        while len(list(tmp_path.glob("*-0-runs"))) < running:
            time.sleep(0.1)
        interrupt.request()

    with interrupt.graceful():
        threading.Thread(target=interrupt_soon, daemon=True).start()
        with pytest.raises(interrupt.Interrupted):
            run_trials(
                save_when_interrupted, names, tmp_path, teams(jobs, size), str(tmp_path / "tune"), print
            )
    assert len(list(tmp_path.glob("*-0-saved"))) == running
