"""Workers of a pool that die, fail and stop answering; Ray itself that ends beneath them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import ItemResult, Pool
from nas.cluster.ray_cluster import Cluster
from search_spaces.errors import WorkError
from tests.faults.rows import fault
from tests.helpers import workers as factories

pytestmark = [
    pytest.mark.slow,
    # Ray leaves the log files of a cluster it stopped to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

TWO = WorkerAllocation(2, 1.0, 0.0, "cpu")


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    """Ray as a search starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        root = str(Path(__file__).parents[2])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        ray_cluster.stop()
        ray_cluster.start(Cluster(2, 0, "this machine", running=False))
        yield
        ray_cluster.stop()


@pytest.fixture
def pool(started: None, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(TWO, factories.tool, str(tmp_path))
    processes = set[object]()
    while len(processes) < 2:  # both have started
        processes.update(done.value for done in pool.map("process", range(2), [0, 1]))
    yield pool
    pool.close()


def run(
    pool: Pool, method: str, items: list[Any], meanwhile: Callable[[int, Any], None], **how: Any
) -> dict[int, ItemResult]:
    """Return the results by index; call ``meanwhile`` with their number and each value; fail if an item came twice."""
    found: dict[int, ItemResult] = {}
    for done in pool.map(method, items, **how):
        assert done.index not in found
        found[done.index] = done
        meanwhile(len(found), done.value)
    return found


def nothing(count: int, value: Any) -> None:
    """Let the items be done."""


@fault(
    "a worker is killed",
    during="a search",
    outcome="another one takes its place, after pauses of up to 30 s where they die in a row",
    lost="the designs that it evaluated, which another worker evaluates",
    told="a worker died: it was killed (process ... on ...); in `log.txt` what Ray says",
)
def test_a_killed_worker(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    def kill(count: int, value: Any) -> None:
        if count == 3:
            os.kill(value, signal.SIGKILL)

    found = run(pool, "process", list(range(10)), kill)
    assert sorted(found) == list(range(10)) and all(done.failure is None for done in found.values())
    said, printed = capsys.readouterr().err, [found[index].value for index in found][2]
    assert f"a worker died: it was killed (process {printed} on 127.0.0.1)" in said


@fault(
    "a design kills each worker that evaluates it",
    during="a search",
    outcome="after two it is a failed trial, and the search goes on",
    lost="nothing",
    told="a worker died: it ended with exit code ... / it crashed, with what it wrote last; the trial has the reason",
)
@pytest.mark.parametrize(
    ("how", "said"),
    # Of the words of a crash those that Ray has read by then.
    [("exits", "ended with exit code 7"), ("crashes", "SIGSEGV received|Segmentation fault")],
)
def test_an_item_that_kills(pool: Pool, how: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(pool, how, list(range(4)), nothing)
    reasons = {index: done.failure for index, done in found.items() if done.failure is not None}
    assert set(reasons) == {2} and sorted(found) == [0, 1, 2, 3]
    assert reasons[2].startswith("it killed 2 workers: it ") and re.search(said, reasons[2])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("a worker died: ")]
    assert len(lines) == 2 and all(re.search(said, line) for line in lines)
    assert lines[0].endswith("; another one is started") and lines[1].endswith(
        "; another one is started in 1s"
    )


@fault(
    "a worker stops answering (SIGSTOP)",
    during="a search",
    outcome="after four times the median time of an evaluation, and 5 s at least, another one does its work, and the "
    "first answer counts; the late one is dropped, and its worker goes on when it answers",
    lost="nothing, and no design is stored twice",
    told="the worker of process ... has not answered for ...",
)
def test_a_worker_that_does_not_answer(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    stopped: list[int] = []

    def stop(count: int, value: Any) -> None:
        if count == 6:
            stopped.append(value)
            os.kill(value, signal.SIGSTOP)

    began = time.monotonic()
    try:
        found = run(pool, "process", list(range(14)), stop, repeatable=True)
        assert time.monotonic() - began < 60
        assert sorted(found) == list(range(14))
        (other,) = {found[index].value for index in list(found)[7:]}  # in the order in which they came
        assert other != stopped[0]
        said = capsys.readouterr().err
        assert f"the worker of process {stopped[0]} on 127.0.0.1 has not answered for" in said
        # The next items do not wait for the one that is stopped, and take no answer of it for theirs.
        assert {done.value for done in run(pool, "process", list(range(4)), nothing).values()} == {other}
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    end = time.monotonic() + 60
    while stopped[0] not in {done.value for done in run(pool, "process", list(range(4)), nothing).values()}:
        assert time.monotonic() < end


def child(name: str) -> int:
    """Return the number of this process's child with such a name."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), name], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[-1])


@fault(
    "the raylet of a private Ray is killed",
    during="a search",
    outcome="Ray is started again, and the search goes on",
    lost="the designs that were being evaluated, which are evaluated again",
    told="this machine's part of Ray (its raylet) has ended; starting Ray again",
)
@fault(
    "the control service (GCS) of a private Ray is killed",
    during="a search",
    outcome="Ray is started again, and the search goes on",
    lost="the designs that were being evaluated, which are evaluated again",
    told="Ray's control service (GCS) at ... has ended; starting Ray again",
)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raylet", "this machine's part of Ray (its raylet) has ended; starting Ray again"),
        ("gcs_server", "(GCS) at 127"),
    ],
)
def test_ray_itself_is_killed(pool: Pool, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def kill(count: int, value: Any) -> None:
        if count == 4:
            os.kill(child(name), signal.SIGKILL)

    found = run(pool, "slow", list(range(40)), kill)
    assert {index: done.value[0] for index, done in found.items()} == {index: index for index in range(40)}
    assert said in capsys.readouterr().err


def test_an_error_at_the_start_is_said(started: None) -> None:
    pool = Pool(TWO, factories.broken, None)
    try:
        with pytest.raises(WorkError, match=r"workers die while they start: .*RuntimeError: no tool today"):
            run(pool, "square", [1], nothing)
    finally:
        pool.close()
