"""A PostgreSQL server of a test's own, where its programs are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def postgres_server(folder: Path, password: str | None = None) -> Iterator[str]:
    """Yield the URL of a server on 127.0.0.1 without its password, which it asks for where there is one."""
    psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    server = shutil.which("postgres")
    if server is None:
        pytest.skip("no postgres program on PATH")
    programs = Path(server).resolve().parent  # initdb need not be on PATH
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
    how = ["-A", "trust"]
    if password is not None:
        (folder / "password").write_text(password + "\n")
        (folder / "password").chmod(0o644)
        how = ["-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
    made = subprocess.run(
        [programs / "initdb", "-D", folder / "db", "-U", "nas", *how, "--no-sync", "-E", "UTF8"],
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
    try:
        for _ in range(100):
            try:
                psycopg.connect(
                    host="127.0.0.1", port=port, user="nas", dbname="postgres", password=password
                ).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "postgres ended at once"
                time.sleep(0.1)
        yield f"postgresql+psycopg://nas@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: SIGTERM would wait for our connections
        process.wait(30)
