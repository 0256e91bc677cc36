"""Whatever a command raises ends in one sentence and a documented exit code; the traceback is in the study's log."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from nas.cli import failures
from nas.cli.render import OutputClosed
from nas.runtime.console import log
from nas.runtime.interrupt import Interrupted
from search_spaces.errors import RequestError, WorkError
from tests.helpers.command_line import Nas

ENDS: list[tuple[BaseException, int, str]] = [
    (RuntimeError("odd"), 1, "failed unexpectedly (RuntimeError: odd)"),
    (KeyError("top1"), 1, "failed unexpectedly (KeyError: 'top1')"),
    (AssertionError(), 1, "failed unexpectedly (AssertionError: AssertionError)"),
    (ValueError("first line\nsecond line"), 1, "(ValueError: first line)"),
    (MemoryError(), 1, "not enough memory; use fewer workers"),
    (RecursionError("maximum recursion depth"), 1, "nested too deeply"),
    (
        OSError(errno.ENOSPC, "No space left on device", "/x/a"),
        1,
        "/x/a cannot be written (No space left on device)",
    ),
    (OSError(errno.EDQUOT, "Disk quota exceeded", "/x/a"), 1, "/x/a cannot be written (Disk quota exceeded)"),
    (
        PermissionError(errno.EACCES, "Permission denied", "/x/a"),
        1,
        "/x/a may not be used (Permission denied)",
    ),
    (FileNotFoundError(errno.ENOENT, "No such file", "/x/a"), 1, "/x/a cannot be used (No such file)"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), 2, "give another name"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset"), 1, "Connection reset"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "Broken pipe"),
    (RuntimeError("(sqlite3.OperationalError) database or disk is full"), 1, "the database has no room left"),
    (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), 1, "UnicodeEncodeError"),
    (WorkError("the work\nfailed"), 1, "nas: the work failed"),
    (RequestError("wrong"), 2, "nas: wrong"),
    (Interrupted("saved"), 130, "nas: saved"),
    (KeyboardInterrupt(), 130, "run the same command again to resume"),
    (typer.Abort(), 130, "run the same command again to resume"),
]


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(("error", "code", "says"), ENDS, ids=lambda each: type(each).__name__)
def test_one_sentence_and_a_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failures.run(raising(error)) == code
    out, err = capsys.readouterr()
    assert not out and err.startswith("nas: ") and err.count("\n") == 1 and says in err
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.run(raising(OutputClosed())) == 0
    assert capsys.readouterr().err == ""


def test_the_traceback_is_in_the_log_of_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        log.to(tmp_path / "log.txt")
        raise ZeroDivisionError("by zero")

    assert failures.run(command) == 1
    assert f"the traceback is in {tmp_path / 'log.txt'}" in capsys.readouterr().err
    text = (tmp_path / "log.txt").read_text()
    assert "Traceback" in text and "ZeroDivisionError: by zero" in text and "in command" in text


def test_what_a_worker_raised_is_in_the_log_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        log.to(tmp_path / "log.txt")
        try:
            raise ZeroDivisionError("in the worker")
        except ZeroDivisionError as error:
            raise WorkError("a worker failed") from error

    assert failures.run(command) == 1
    assert capsys.readouterr().err == "nas: a worker failed\n"
    assert "ZeroDivisionError: in the worker" in (tmp_path / "log.txt").read_text()


def test_debugging_prints_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures.run(raising(RuntimeError("odd")))
    assert "NAS_DEBUG=1 prints the traceback" in capsys.readouterr().err
    monkeypatch.setenv("NAS_DEBUG", "1")
    failures.run(raising(RuntimeError("odd")))
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("nas.study.designs.find_architecture", "show swin_tiny"),
        ("nas.cluster.doctor.examine", "doctor"),
        ("nas.report.similarity.analyze", "analyze x"),
        ("nas.api.search.plan_search", "search"),
        ("nas.export.evaluate_export.evaluate_folder", "evaluate x --data mnist5k"),
        ("nas.export.predict.predict_files", "predict x y.png"),
        ("nas.bench.command.run", "bench search"),
    ],
)
def test_every_command_ends_so(nas: Nas, monkeypatch: pytest.MonkeyPatch, place: str, command: str) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(place, fail)
    outcome = nas(*command.split())
    assert outcome.code == 1 and not outcome.out
    assert outcome.err.startswith("nas: this failed unexpectedly (RuntimeError: planted)")


def run_in_shell(command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``nas`` as a process of its own, in a shell that answers with the exit codes of a pipe."""
    line = command.replace("nas ", f"{sys.executable} -m nas ")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(
        ["bash", "-c", f"{line}; echo ${{PIPESTATUS[@]}} >&2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("nas spaces twins_cswin | true", "0 0\n"),
        ("nas spaces >&-", "0\n"),
        ("nas spaces local_vit_ablation > /dev/full", "nas: standard output cannot be"),
    ],
)
def test_output_that_nobody_takes(command: str, says: str, tmp_path: Path) -> None:
    done = run_in_shell(command, tmp_path)
    assert done.stderr.startswith(says) and "Traceback" not in done.stderr and "Exception" not in done.stderr
    if says.startswith("nas"):
        assert done.stderr.endswith("\n1\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8, 1.5, 2.5])
def test_ctrl_c_at_any_moment(seconds: float, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "search", "--budget", "1cpu"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -2, 0), err
    assert seconds < 0.3 or "Traceback" not in err  # before that Python itself is starting
