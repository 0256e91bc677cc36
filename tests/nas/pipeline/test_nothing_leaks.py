"""A whole run, watched from outside: no secret in sight, no socket open to others, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nas.cli.process_list import hide_password
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.servers import PostgreSql, serving
from tests.helpers.sockets import descendants, is_loopback, listening

ROOT = Path(__file__).parents[3]
SECRET = "xq7-hunter22-zz"


@dataclass
class Watch:
    """What a process and its descendants showed while they ran."""

    addresses: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    command_lines: set[str] = field(default_factory=set)
    leaks: set[str] = field(default_factory=set)
    modes: set[int] = field(default_factory=set)

    def look(self, pid: int, temporary: Path) -> None:
        everyone = descendants(pid) | {pid}
        self.addresses |= set(listening(everyone))
        for each in everyone:
            with contextlib.suppress(OSError):
                line = (
                    Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                self.command_lines.add(line)
                self.names.add(Path(f"/proc/{each}/comm").read_text().strip())
                if each != pid and SECRET.encode() in Path(f"/proc/{each}/environ").read_bytes():
                    self.leaks.add(f"environment of {line[:80]}")
        for folder in temporary.glob("nas-*"):
            with contextlib.suppress(OSError):
                self.modes.add(folder.stat().st_mode & 0o777)
            self.leaks |= files_with_secret(folder)


def files_with_secret(folder: Path) -> set[str]:
    """Return the regular files below a folder that hold the secret."""
    found = set()
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):  # it has just gone
                if path.is_file() and SECRET.encode() in path.read_bytes():
                    found.add(str(path))
    return found


def run_watched(arguments: list[str], where: Path, environment: dict[str, str]) -> tuple[int, str, Watch]:
    """Run the command line in a process that is watched all the time; return how it ended and what it printed."""
    watch = Watch()
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: said.extend(process.stdout or []))
    reader.start()
    time.sleep(2.0)  # until it has begun anew without the password
    try:
        while process.poll() is None:
            watch.look(process.pid, (where / "t").resolve())
            time.sleep(0.3)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
    return process.returncode, "".join(said), watch


@pytest.fixture
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a space, images, and a short folder for temporary files."""
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(folder / "images")
    short = Path("/tmp") / f"t{os.getpid()}"
    short.mkdir()
    (folder / "t").symlink_to(short)
    yield folder
    shutil.rmtree(short)


@pytest.mark.slow
def test_a_whole_run(where: Path) -> None:
    short = (where / "t").resolve()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local", "TMPDIR": str(short)}
    environment.pop("RAY_TMPDIR", None)
    search = [
        "search", "--space", "tiny.yaml", "--data", "folder:images", "--budget", "2cpu,6trials", "--batch", "3",
        "--epochs", "2", "--batch-size", "8", "--study", "./s", "--retrain", "1",
    ]  # fmt: skip
    with serving(PostgreSql, password=SECRET) as server:
        public = server.url
        url = public.replace("nas@", f"nas:{SECRET}@")
        code, said, watch = run_watched([*search, "--storage", url], where, environment)
        assert code == 0, said
        assert "the password in --storage could be read in the process list" in said
        assert {"raylet", "gcs_server"} <= watch.names and watch.modes == {0o700}
        assert any("_Rank" in line for line in watch.command_lines), "no team has trained"
        assert watch.addresses and all(map(is_loopback, watch.addresses)), watch.addresses
        leaks = (
            watch.leaks | files_with_secret(where) | {line for line in watch.command_lines if SECRET in line}
        )
        assert not leaks and SECRET not in said
        assert (where / "s" / "storage.txt").read_text().strip() == public
        assert list(short.glob("nas-*")) == []

        # Later commands get the password from the environment alone, and say what is missing without it.
        report = [sys.executable, "-m", "nas", "report", "./s"]
        without = subprocess.run(report, cwd=where, env=environment, capture_output=True, text=True)
        assert (
            without.returncode == 2 and "NAS_STORAGE" in without.stderr and "Traceback" not in without.stderr
        )
        given = {**environment, "NAS_STORAGE": url}
        assert subprocess.run(report, cwd=where, env=given, capture_output=True).returncode == 0
        page = serve_dashboard(where, given)
        assert "<html" in page.lower() and SECRET not in page
    assert not files_with_secret(where)


def serve_dashboard(where: Path, environment: dict[str, str]) -> str:
    """Return a page of the dashboard; its sockets are on the loopback, and its title names no password."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "dashboard", "./s", "--port", "18652"],
        cwd=where,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "dashboard of postgresql+psycopg://nas@127.0.0.1" in line, line
        addresses = set(listening(descendants(process.pid) | {process.pid}))
        assert addresses and all(map(is_loopback, addresses))
        with urllib.request.urlopen("http://127.0.0.1:18652/dashboard", timeout=30) as answer:
            return str(answer.read().decode())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()


def test_a_command_without_a_password_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise AssertionError("started anew")

    monkeypatch.setattr(os, "execve", start)
    for arguments in (["search"], ["--storage", "sqlite:///a:b@c.db"], ["--storage=postgresql://me@h/d"]):
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "nas", *arguments])
        hide_password()


@pytest.mark.parametrize(
    "given",
    [["--storage", f"postgresql://me:{SECRET}@h/d"], [f"--storage=postgresql://h/d?password={SECRET}"]],
)
def test_a_password_is_taken_out_of_the_process_list(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "nas", "search", *given, "--seed", "1"])
    hide_password()
    ((program, arguments, environment),) = started
    assert program == sys.executable and SECRET not in " ".join(arguments)
    assert arguments[:4] == ["python", "-m", "nas", "search"] and arguments[-2:] == ["--seed", "1"]
    assert environment["NAS_STORAGE"] == given[-1].removeprefix("--storage=")
    assert SECRET not in capsys.readouterr().err
