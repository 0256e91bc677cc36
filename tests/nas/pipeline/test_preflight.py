"""Preflight: each thing that is missing is a sentence with the mend, and all are named at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.cluster import ray_session
from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.pipeline import preflight
from nas.pipeline.preflight import (
    Preflight,
    examine_machine,
    examine_retraining,
    examine_search,
)
from nas.runtime.resources import GIB, MIB, Amount
from nas.search.storage_url import sqlite_url
from nas.training.footprint import count_supernet_parameters
from search_spaces.declaration import load_declaration
from search_spaces.errors import RequestError
from supernet.supernet import Supernet
from tests.helpers.command_line import Nas, tree

HERE = Cluster(2, 0, "this machine", running=False)
ELSEWHERE = Cluster(16, 8, "the Ray cluster of 2 nodes", running=True)
FOUR = WorkerAllocation(4, 1.0, 0.0, "cpu")


def examine(folder: Path, url: str | None = None, cluster: Cluster = HERE) -> Preflight:
    return examine_machine(folder, sqlite_url(folder / "s.db") if url is None else url, cluster, FOUR)


def nothing_fits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ray_session, "temporary_places", lambda: [Path("/" + 88 * "x")])


def little_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(preflight, "measure_disk", lambda folder: Amount(GIB, 10 * MIB))


def few_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(preflight, "most_open_files", lambda: 256)


def bad_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("NAS_WAIT_SECONDS", "soon")


@pytest.mark.parametrize(
    ("break_it", "sentences"),
    [
        (nothing_fits, ["Ray's sockets find no place: .* set RAY_TMPDIR"]),
        (
            little_disk,
            [
                "has 10 MiB of disk free and 100 MiB are wanted for the study; free some space",
                "Ray wants 200 MiB of disk for temporary files and .* has 10 MiB free; .* RAY_TMPDIR",
            ],
        ),
        (few_files, ["4 workers want 576 open files and the limit is 256; raise it with ulimit -Hn 576"]),
        (bad_limit, ["NAS_WAIT_SECONDS=soon is no number"]),
    ],
)
def test_each_problem_is_a_sentence(
    break_it: Callable[[pytest.MonkeyPatch], None],
    sentences: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert examine(tmp_path).problems == ()
    break_it(monkeypatch)
    problems = examine(tmp_path).problems
    assert len(problems) == len(sentences)
    for problem, sentence in zip(problems, sentences, strict=True):
        with pytest.raises(RequestError, match=sentence):
            Preflight((problem,)).require()
    assert list(tmp_path.iterdir()) == []


def test_folders_and_databases_that_cannot_be_written(tmp_path: Path) -> None:
    problem, *_ = examine(Path("/proc/study"), sqlite_url(tmp_path / "s.db")).problems
    assert "cannot be written" in problem
    (problem,) = examine(tmp_path, "sqlite:////proc/x/s.db").problems
    assert "cannot be written" in problem
    (problem,) = examine(tmp_path, "postgresql+psycopg://me:hunter22@127.0.0.1:1/db").problems
    assert (
        "cannot open the storage postgresql+psycopg://me@127.0.0.1:1/db" in problem
        and "hunter22" not in problem
    )
    (problem,) = examine(tmp_path, "mangodb://x/y").problems
    assert "cannot open the storage mangodb://x/y" in problem


def test_all_problems_are_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for break_it in (nothing_fits, few_files, bad_limit):
        break_it(monkeypatch)
    with pytest.raises(RequestError) as caught:
        (examine(tmp_path, "nonsense") + Preflight(("the last",))).require()
    text = str(caught.value)
    assert text.startswith("5 things keep this from running: (1) cannot open the storage nonsense")
    assert all(f"({number}) " in text for number in range(2, 6)) and text.endswith("(5) the last")


def test_a_cluster_elsewhere_needs_nothing_of_this_machine_but_the_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for break_it in (nothing_fits, few_files):
        break_it(monkeypatch)
    assert examine(tmp_path, cluster=ELSEWHERE) == Preflight()


def test_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(preflight, "measure_shared_memory", lambda: Amount(GIB, GIB))
    assert examine(tmp_path).warnings == ()
    monkeypatch.setenv("NAS_CACHE_DIR", "/proc/cache")
    monkeypatch.setattr(preflight, "measure_shared_memory", lambda: Amount(64 * MIB, 60 * MIB))
    cache, shared = examine(tmp_path).warnings
    assert cache.startswith("the cache folder /proc/cache cannot be written")
    assert shared.startswith("/dev/shm has 60 MiB free") and "--shm-size=4g" in shared


def test_checkpoints_and_memory_by_the_size_of_the_supernet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nas.data.dataset import load_data

    data = load_data("mnist5k")
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    parameters = sum(parameter.numel() for parameter in Supernet(space).parameters())
    assert count_supernet_parameters(space) == parameters
    one = 4 * 4 * parameters  # the last two are kept, and a third is written beside them
    all_three = 3 * one + 100 * MIB

    def problems(free: int, *, trains: bool = True, checkpoints: int = 0) -> tuple[str, ...]:
        monkeypatch.setattr(preflight, "measure_disk", lambda folder: Amount(GIB, free))
        monkeypatch.setattr(preflight, "measure_memory", lambda: Amount(GIB, 64 * GIB))
        found = examine_search(tmp_path, space, data, HERE, FOUR, trains=trains, checkpoints=checkpoints)
        assert found.warnings == ()
        return found.problems

    assert problems(all_three) == problems(0, trains=False) == ()
    assert "are wanted for the checkpoints of the supernet" in problems(all_three - 1)[0]
    assert problems(all_three - one, checkpoints=1) == () != problems(all_three - one - 1, checkpoints=1)
    assert problems(all_three - 2 * one, checkpoints=2) == ()
    monkeypatch.setattr(preflight, "measure_memory", lambda: Amount(GIB, GIB + 200 * MIB))
    (warning,) = examine_search(tmp_path, space, data, HERE, FOUR, trains=False, checkpoints=0).warnings
    assert warning.startswith("4 workers want about 2.0 GiB of memory and 1.2 GiB are free")
    assert "--budget 2cpu" in warning
    assert examine_search(tmp_path, space, data, ELSEWHERE, FOUR, trains=False, checkpoints=0) == Preflight()


def test_retrained_designs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = 16 * (2 * 2 * 3_000_000 + 2_000_000) + 100 * MIB
    monkeypatch.setattr(preflight, "measure_disk", lambda folder: Amount(GIB, wanted - 1))
    (problem,) = examine_retraining(tmp_path, [1_000_000, 2_000_000], 2).problems
    assert "are wanted for the checkpoints of the retrained designs" in problem
    monkeypatch.setattr(preflight, "measure_disk", lambda folder: Amount(GIB, wanted))
    assert examine_retraining(tmp_path, [1_000_000, 2_000_000], 2) == Preflight()


def test_the_plan_refuses_before_anything_is_written(
    nas: Nas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing_fits(monkeypatch)
    for more in ((), ("--dry-run",)):
        outcome = nas(
            "search", "--space", "twins_cswin", "--budget", "1cpu,4trials", "--study", tmp_path / "s", *more
        )
        assert outcome.code == 2 and outcome.err.startswith("nas: Ray's sockets find no place"), outcome.err
        assert outcome.err.count("\n") == 1 and tree(tmp_path) == {}
