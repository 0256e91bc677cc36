"""A database server that stops, restarts, freezes or cuts its connections in the middle of a search."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas.search import database_wait
from nas.search.trial_store import TrialRecord
from search_spaces.errors import WorkError
from tests.faults.rows import fault
from tests.helpers.searches import (
    DisturbedEvaluations,
    FakeEvaluations,
    MemoryStore,
    comparable,
    run_search,
    small_space,
)
from tests.helpers.servers import MariaDb, PostgreSql, Server, serving


@pytest.fixture(scope="module", params=[PostgreSql, MariaDb])
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as server:
        yield server


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with an empty database, whose silence is told after a fraction of a second."""
    monkeypatch.setattr(database_wait, "_FIRST_LINE", 1.0)
    running.clear()
    return running


@pytest.fixture(scope="module")
def undisturbed() -> list[TrialRecord]:
    return run_search(MemoryStore(), small_space())


def search(server: Server, folder: Path, disturb: Callable[[], None]) -> list[TrialRecord]:
    """Search while something happens; check that no design was evaluated twice."""
    evaluate = DisturbedEvaluations(disturb)
    records = run_search(folder, small_space(), evaluate, url=server.url)
    assert len(evaluate.seen) == len(set(evaluate.seen))
    return records


def restart_later(server: Server, seconds: float) -> None:
    """Stop a server now and start it again after some seconds."""
    server.stop()
    threading.Timer(seconds, server.start).start()


@fault(
    "a PostgreSQL or MariaDB server restarts",
    during="a search",
    outcome="waits up to `NAS_STORAGE_WAIT` seconds, then goes on",
    lost="nothing",
    told="the database has not answered for ...; waiting up to ...",
)
@pytest.mark.slow
def test_a_server_that_restarts(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = search(server, tmp_path, lambda: restart_later(server, 2.0))
    assert comparable(found) == comparable(undisturbed)
    said = capsys.readouterr().err.splitlines()[-2:]
    assert said[0].startswith(f"the database {server.url} has not answered for"), said
    assert said[0].endswith("; waiting up to 1m 00s") and "refused" in said[0]
    assert said[1].startswith("the database answers again after")


@fault(
    "the server ends all connections",
    during="a search",
    outcome="goes on at once",
    lost="nothing",
    told="a line in `log.txt`",
)
def test_connections_that_are_cut(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert comparable(search(server, tmp_path, server.cut_connections)) == comparable(undisturbed)
    assert "refused" not in capsys.readouterr().err


@fault(
    "the server does not answer for a while",
    during="a search",
    outcome="waits, then goes on",
    lost="nothing",
    told="the database has not answered for ...",
)
@pytest.mark.slow
def test_a_server_that_freezes(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def freeze() -> None:
        server.signal_all(signal.SIGSTOP)
        threading.Timer(2.0, server.signal_all, (signal.SIGCONT,)).start()

    assert comparable(search(server, tmp_path, freeze)) == comparable(undisturbed)
    assert "(no answer); waiting up to" in capsys.readouterr().err


@fault(
    "the server stays away for longer than `NAS_STORAGE_WAIT`",
    during="a search",
    outcome="exit 1, goes on when it is back",
    lost="the designs that were being evaluated",
    told="the database has not answered for ...; run the same command again",
)
@pytest.mark.slow
def test_a_server_that_is_gone_for_longer_than_allowed(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_STORAGE_WAIT", "1.5")
    started = time.monotonic()
    with pytest.raises(
        WorkError, match=r"has not answered for 2s \(.*\); what it holds is kept: run the same"
    ):
        search(server, tmp_path, server.stop)
    assert time.monotonic() - started < 20
    server.start()
    again = FakeEvaluations()
    assert comparable(run_search(tmp_path, small_space(), again, url=server.url)) == comparable(undisturbed)
    assert len(again.seen) == 16 - 6  # six were stored; the seventh was evaluated as the server went


@fault(
    "the connection breaks between a commit and its answer",
    during="a search",
    outcome="goes on",
    lost="nothing, and no trial is stored twice",
    told="a line in `log.txt`",
)
def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stores the trial, and the connection breaks before it says so."""
    from sqlalchemy.engine.default import DefaultDialect

    commit, lost = DefaultDialect.do_commit, list[bool]()

    def lose(dialect: DefaultDialect, connection: object) -> None:
        commit(dialect, connection)  # type: ignore[arg-type]
        if armed and not lost:
            lost.append(True)
            server.cut_connections()
            connection.cursor().execute("SELECT 1")  # type: ignore[attr-defined]

    armed: list[bool] = []
    monkeypatch.setattr(DefaultDialect, "do_commit", lose)
    found = search(server, tmp_path, lambda: armed.append(True))
    assert lost and comparable(found) == comparable(undisturbed)


@fault(
    "the server freezes for longer than `NAS_STORAGE_WAIT`",
    during="a search",
    outcome="exit 1, goes on when it answers",
    lost="the designs that were being evaluated",
    told="the database has not answered for ...; run the same command again",
)
@pytest.mark.slow
def test_a_server_that_freezes_for_good(
    server: Server, undisturbed: list[TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_STORAGE_WAIT", "2")
    started = time.monotonic()
    try:
        with pytest.raises(WorkError, match=r"has not answered for \d+s \(.*\); what it holds is kept"):
            search(server, tmp_path, lambda: server.signal_all(signal.SIGSTOP))
    finally:
        server.signal_all(signal.SIGCONT)
    assert time.monotonic() - started < 40
    assert comparable(run_search(tmp_path, small_space(), url=server.url)) == comparable(undisturbed)
