"""The console: lines for people on stderr and in the log, and numbers that read well."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.runtime import console as module
from nas.runtime.console import Log, duration, progress_callback, quantity
from nas.runtime.plain_console import PlainConsole


def test_what_is_said_is_printed_and_logged_and_a_note_only_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    log.note("before there is a file")
    log.to(tmp_path / "study" / "log.txt")
    log.say("said [bold]as it is[/bold]")
    log.note("noted")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "said [bold]as it is[/bold]\n")
    lines = (tmp_path / "study" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line[20:] for line in lines] == ["said [bold]as it is[/bold]", "noted"]


def test_progress_is_logged_once_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.to(tmp_path / "log.txt")
    monkeypatch.setattr(module, "log", log)
    with progress_callback("idle"):
        pass
    assert not (tmp_path / "log.txt").exists()
    with progress_callback("counting") as on_progress:
        on_progress(1, 3)
        on_progress(3, 3)
    (line,) = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert line[20:].startswith("counting: 3/3 (") and "left" not in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.6, "8s"), (59.4, "59s"), (59.6, "1m 00s"), (185, "3m 05s"), (7_800, "2h 10m")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.4, "999"), (999.6, "1k"), (128_000, "128k"), (4.3e9, "4.3G"), (999_600, "1M"), (-2.5e6, "-2.5M")],
)
def test_quantity(value: float, text: str) -> None:
    assert quantity(value) == text
    assert quantity(value, "B") == text + "B"


def test_a_phase_that_ends_on_its_interval_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_PRINT_SECONDS", -1.0)
    monkeypatch.setattr(module, "_SHORTEST_PRINTED", -1.0)
    with progress_callback("counting") as on_progress:
        on_progress(1, 2)
        on_progress(2, 2)
    lines = [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["counting: 1/2", "counting: 2/2"]


def test_without_rich_lines_are_printed_as_they_are_and_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    plain = module._open_console()
    assert isinstance(plain, PlainConsole)
    monkeypatch.setattr(module, "console", plain)
    monkeypatch.setattr(module, "_PRINT_SECONDS", -1.0)
    with progress_callback("counting [1]") as on_progress:
        on_progress(1, 2)
    long = "said [bold]as it is[/bold] " * 20
    Log().say(long)
    plain.quiet = True
    Log().say("unheard")
    out, err = capsys.readouterr()
    progress, said = err.splitlines()
    assert (out, progress.split(" (")[0], said) == ("", "counting [1]: 1/2", long)


def test_a_plain_console_that_nobody_reads_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    plain = PlainConsole()
    plain.say("unheard")
    assert plain.quiet
