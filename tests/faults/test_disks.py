"""A disk that is full, or takes no writes, at each place where a study writes."""

from __future__ import annotations

import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.errors import WorkError
from tests.faults.disks import SmallDisk, small_disk
from tests.faults.rows import fault
from tests.helpers.command_line import Nas
from tests.helpers.searches import (
    DisturbedEvaluations,
    FakeEvaluations,
    MemoryStore,
    comparable,
    run_search,
    small_space,
)
from tests.helpers.studies import make_study


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, 16) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def undisturbed() -> list[TrialRecord]:
    return run_search(MemoryStore(), small_space())


@fault(
    "the disk is full",
    during="a search into SQLite",
    outcome="exit 1, goes on when there is room",
    lost="the design that was being stored",
    told="the database has no room left",
)
def test_a_full_disk_in_a_search(disk: SmallDisk, undisturbed: list[TrialRecord]) -> None:
    with pytest.raises(
        WorkError, match=r"study\.db has no room left \(.*full\); free some space; what it holds is"
    ):
        run_search(disk.root, small_space(), DisturbedEvaluations(disk.fill))
    with pytest.raises(WorkError, match="no room left"):  # and no worse the second time
        run_search(disk.root, small_space())
    disk.empty()
    again = FakeEvaluations()
    assert comparable(run_search(disk.root, small_space(), again)) == comparable(undisturbed)
    assert len(again.seen) == 16 - 6


@fault(
    "a file reaches the largest size that a process may write",
    during="a search into SQLite",
    outcome="exit 1, goes on when it may be larger",
    lost="the design that was being stored",
    told="the disk of the database fails or is full",
)
def test_a_limit_of_sizes_in_a_search(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    try:
        with pytest.raises(
            WorkError, match=r"study\.db (fails or is full|has no room left) \(.*\); .* is kept"
        ):
            run_search(tmp_path, small_space(), DisturbedEvaluations(limit))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert comparable(run_search(tmp_path, small_space())) == comparable(undisturbed)


@fault(
    "another process has the SQLite file locked",
    during="a search into SQLite",
    outcome="waits up to `NAS_STORAGE_WAIT` seconds, then goes on",
    lost="nothing",
    told="the database has not answered for ...",
)
def test_a_locked_file_in_a_search(
    tmp_path: Path,
    undisturbed: list[TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("nas.search.storage._SQLITE_TIMEOUT", 0.2)
    monkeypatch.setattr("nas.search.database_wait._FIRST_LINE", 0.5)
    other = sqlite3.connect(tmp_path / "study.db", check_same_thread=False, isolation_level=None)

    def lock() -> None:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(2.0, other.execute, ("COMMIT",)).start()

    with closing(other):
        assert comparable(run_search(tmp_path, small_space(), DisturbedEvaluations(lock))) == comparable(
            undisturbed
        )
    assert "(database is locked); waiting up to" in capsys.readouterr().err


@fault(
    "the disk becomes read-only",
    during="a search into SQLite",
    outcome="exit 1, goes on when it is writable",
    lost="the design that was being stored",
    told="the database cannot be written",
)
def test_a_read_only_disk_in_a_search(disk: SmallDisk, undisturbed: list[TrialRecord]) -> None:
    with pytest.raises(
        WorkError, match=r"study\.db cannot be written \(.*\); make its disk or its rights writable"
    ):
        run_search(disk.root, small_space(), DisturbedEvaluations(disk.fail))
    disk.repair()
    again = FakeEvaluations()
    assert comparable(run_search(disk.root, small_space(), again)) == comparable(undisturbed)
    assert len(again.seen) == 16 - 6


@fault(
    "the disk is full",
    during="`nas report`",
    outcome="exit 1, the earlier report stays",
    lost="nothing",
    told="report.html cannot be written",
)
def test_a_full_disk_at_the_report(nas: Nas, disk: SmallDisk) -> None:
    study = make_study(disk.root / "study", 12)
    assert nas("report", study.folder).code == 0
    before = study.report_file.read_bytes()
    disk.fill()
    outcome = nas("report", study.folder)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "report.html cannot be written (No space left on device); free some space" in outcome.err
    assert study.report_file.read_bytes() == before and not list(study.folder.glob(".*.tmp"))
    disk.empty()
    assert nas("report", study.folder).code == 0


@fault(
    "the disk is read-only",
    during="`nas report`",
    outcome="exit 1",
    lost="nothing",
    told="report.html cannot be written",
)
def test_a_read_only_disk_at_the_report(nas: Nas, disk: SmallDisk) -> None:
    study = make_study(disk.root / "study", 12)
    disk.fail()
    outcome = nas("report", study.folder)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "Read-only file system" in outcome.err
    disk.repair()


@fault(
    "the disk is full",
    during="writing `front.json`",
    outcome="exit 1, the earlier file stays",
    lost="nothing",
    told="front.json cannot be written",
)
def test_a_full_disk_at_the_front(disk: SmallDisk) -> None:
    study = make_study(disk.root / "study", 12)
    before, records = study.front_file.read_bytes(), study.records()
    disk.fill()
    with pytest.raises(WorkError, match=r"front\.json cannot be written \(No space left on device\)"):
        study.write_front(records, study.goal(), [], 0)
    assert study.front_file.read_bytes() == before
    disk.empty()
    assert Study(study.folder).records() == records
