"""A search into a PostgreSQL server, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.search.storage import check_storage
from search_spaces.errors import StudyError
from tests.helpers.searches import FakeEvaluations, Killed, MemoryStore, comparable, run_search, small_space


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test alone, on 127.0.0.1."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    server = shutil.which("postgres")
    if server is None:
        pytest.skip("no postgres program on PATH")
    programs = Path(server).resolve().parent  # initdb need not be on PATH
    folder = tmp_path_factory.mktemp("postgres")
    user: dict[str, object] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = {"user": "nobody"}
        os.chmod(folder, 0o777)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/tmp") and Path("/tmp") in parent.parents:
                os.chmod(parent, parent.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = subprocess.run(
        [programs / "initdb", "-D", folder / "db", "-U", "nas", "-A", "trust", "--no-sync", "-E", "UTF8"],
        capture_output=True,
        text=True,
        cwd="/tmp",
        **user,  # type: ignore[call-overload]
    )
    assert made.returncode == 0, made.stderr
    options = ["-D", folder / "db", "-p", str(port), "-h", "127.0.0.1", "-k", folder / "db", "-F"]
    process = subprocess.Popen(
        [programs / "postgres", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/tmp",
        **user,  # type: ignore[call-overload]
    )
    url = f"postgresql+psycopg://nas@127.0.0.1:{port}/postgres"
    try:
        import psycopg

        for _ in range(100):
            try:
                psycopg.connect(f"host=127.0.0.1 port={port} user=nas dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "postgres ended at once"
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: SIGTERM would wait for our connections
        process.wait(30)


def test_postgresql(postgres: str, tmp_path: Path) -> None:
    space = small_space()
    with pytest.raises(Killed):
        run_search(tmp_path, space, FakeEvaluations(dies_after=9), url=postgres)
    assert comparable(run_search(tmp_path, space, url=postgres)) == comparable(
        run_search(MemoryStore(), space)
    )
    with pytest.raises(StudyError, match="has the objectives"):
        check_storage(postgres, "study", ("top1",))
