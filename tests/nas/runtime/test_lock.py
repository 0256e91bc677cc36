"""One process at a time works in a folder; others are told who does, and death frees it at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.runtime.lock import LOCK_FILE, FolderLock
from search_spaces.errors import StudyError, WorkError
from tests.helpers.command_line import tree

HOLD = """
import sys, time
from pathlib import Path
from nas.runtime.lock import FolderLock
with FolderLock(Path(sys.argv[1])).hold(["nas", "search", "--storage", "postgresql://me:hidden@host/db"]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A folder that another process holds, and that process."""
    folder = tmp_path / "study"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield folder, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_is_told_who_holds_it(held: tuple[Path, subprocess.Popen[str]], tmp_path: Path) -> None:
    folder, process = held
    before = tree(tmp_path)
    sentence = rf"worked on by .* on .*, process {process.pid}, since 20.*: nas search --storage"
    with pytest.raises(StudyError, match=sentence) as error:
        FolderLock(folder).require_free()
    assert "hidden" not in str(error.value) and "hidden" not in (folder / LOCK_FILE).read_text()
    with pytest.raises(StudyError, match=sentence), FolderLock(folder).hold([]):
        pass
    assert tree(tmp_path) == before
    # However the folder is called or reached: it is the folder that is locked.
    (tmp_path / "link").symlink_to(folder)
    assert FolderLock(tmp_path / "link").holder() is not None
    folder.rename(tmp_path / "renamed")
    assert FolderLock(tmp_path / "renamed").holder() is not None


def test_a_killed_holder_holds_nothing(held: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, process = held
    process.kill()
    process.wait()
    started = time.monotonic()
    with FolderLock(folder).hold(["nas"]):
        assert json.loads((folder / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert time.monotonic() - started < 1


def test_one_process_may_hold_it_twice(tmp_path: Path) -> None:
    outer, inner = FolderLock(tmp_path), FolderLock(tmp_path)
    with outer.hold([]):
        with inner.hold([]):
            pass
        assert inner.holder() is None  # nobody else
        assert subprocess_sees(tmp_path)
    assert not subprocess_sees(tmp_path)


def subprocess_sees(folder: Path) -> bool:
    program = "import sys; from pathlib import Path; from nas.runtime.lock import FolderLock; "
    program += "print(FolderLock(Path(sys.argv[1])).holder() is not None)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout == "True\n"


@pytest.mark.parametrize("change", ["moved", "replaced", "deleted"])
def test_a_folder_that_went_away_is_noticed(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    lock = FolderLock(folder)
    lock.require_in_place()  # nobody holds it yet
    with lock.hold([]):
        lock.require_in_place()
        folder.rename(tmp_path / "elsewhere")
        if change == "replaced":
            folder.mkdir()
            (folder / LOCK_FILE).touch()
        elif change == "deleted":
            (tmp_path / "elsewhere" / LOCK_FILE).unlink()
        with pytest.raises(WorkError, match="was moved, replaced or deleted"):
            lock.require_in_place()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StudyError, match="cannot be written"),
        FolderLock(tmp_path / "file" / "study").hold([]),
    ):
        pass
