"""A folder that is borrowed: copied, worked on elsewhere, and brought back by the driver alone.

Here driver and worker are threads of one process and Ray's object store is left out; `test_other_machines` has both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.cluster import study_files
from nas.cluster.study_files import StudyFiles, borrow, in_borrowed_folder, lending
from nas.runtime import interrupt
from search_spaces.errors import NasError, WorkError


@dataclass(frozen=True)
class Work:
    folder: Path

    def in_folder(self, folder: Path) -> Work:
        return replace(self, folder=folder)


@dataclass(frozen=True)
class Files(StudyFiles):
    """Asks the driver's side without anything between."""

    server: Any = None
    stored: list[list[str]] = field(default_factory=list)

    def _ask(self, *request: Any) -> Any:
        name, *arguments = request
        if name == "store":
            self.stored.append(list(arguments[1]))
        try:
            return getattr(self.server, f"_{name}")(*arguments)
        except NasError as error:  # as it is sent back
            raise type(error)(str(error)) from None


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's folder of a study, with one checkpoint in it."""
    plain = SimpleNamespace(put=lambda value: value, get=lambda value: value)
    plain.exceptions = SimpleNamespace(RayError=ConnectionError)
    monkeypatch.setattr(study_files, "load_ray", lambda: plain)
    monkeypatch.setattr(study_files, "_LOOK_SECONDS", 0.05)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(study_files, "temporary_places", lambda: [tmp_path / "tmp"])
    folder = tmp_path / "study"
    (folder / "supernet").mkdir(parents=True)
    (folder / "supernet" / "checkpoint").write_text("step 1")
    return folder


@pytest.fixture
def files(study: Path) -> Files:
    return Files(None, study_files._Server(study, None))


@pytest.fixture
def asked_to_stop() -> Iterator[None]:
    with interrupt.graceful():  # which forgets at its end
        yield


def await_text(path: Path, text: str) -> None:
    end = time.monotonic() + 20
    while not path.exists() or path.read_text() != text:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_worker_goes_on_from_the_drivers_files_and_gives_back_its_own(study: Path, files: Files) -> None:
    work = Work(study / "supernet")
    with borrow(files, work) as own:
        assert own.folder != work.folder and (own.folder / "checkpoint").read_text() == "step 1"
        (own.folder / "checkpoint").write_text("step 2")
        await_text(work.folder / "checkpoint", "step 2")  # long before the end
        (own.folder / "epochs.csv").write_text("1")
        (own.folder / "checkpoint").unlink()
    assert {path.name for path in work.folder.iterdir()} == {"epochs.csv"}
    assert not own.folder.exists() and not list((study.parent / "tmp").iterdir())


def test_what_says_that_others_are_complete_comes_after_them(study: Path, files: Files) -> None:
    with borrow(files, Work(study / "retrained")) as own:
        for name in ("z-weights", "a-result"):
            (own.folder / name).write_text(name)
            time.sleep(0.01)
    assert [name for changes in files.stored for name in changes] == ["z-weights", "a-result"]
    assert (study / "retrained" / "a-result").read_text() == "a-result"


def test_nothing_is_sent_where_nothing_changes(study: Path, files: Files) -> None:
    with borrow(files, Work(study / "supernet")) as own:
        (own.folder / ".checkpoint.1-2.tmp").write_text("half")  # as safetensors writes beside its target
        time.sleep(0.3)
    assert files.stored == []


def test_other_ranks_read_alone(study: Path, files: Files) -> None:
    def work(own: Work, rank: int, world: int) -> str:
        text = (own.folder / "checkpoint").read_text()
        (own.folder / "checkpoint").write_text(f"of rank {rank}")
        return text

    run = in_borrowed_folder(work, files)
    assert run(Work(study / "supernet"), 1, 2) == "step 1"
    assert (study / "supernet" / "checkpoint").read_text() == "step 1"
    assert run(Work(study / "supernet"), 0, 2) == "step 1"
    assert (study / "supernet" / "checkpoint").read_text() == "of rank 0"
    assert in_borrowed_folder(work, None) is work


@pytest.mark.usefixtures("asked_to_stop")
def test_a_driver_that_cannot_write_ends_the_work(
    study: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = study_files.write_bytes, [WorkError("the disk is full")]

    def write(path: Path, content: bytes) -> None:
        if failures and path.is_relative_to(study):
            raise failures.pop()
        real(path, content)

    monkeypatch.setattr(study_files, "write_bytes", write)
    asked = False
    with pytest.raises(WorkError, match="the disk is full"), borrow(files, Work(study / "supernet")) as own:
        (own.folder / "checkpoint").write_text("step 2")
        end = time.monotonic() + 20
        while not asked and time.monotonic() < end:  # as a training does between its steps
            asked = interrupt.is_requested()
            time.sleep(0.02)
        interrupt.check()
    assert asked
    assert (study / "supernet" / "checkpoint").read_text() == "step 1"


@pytest.mark.usefixtures("asked_to_stop")
def test_an_interruption_of_the_driver_reaches_the_worker(study: Path, files: Files) -> None:
    with borrow(files, Work(study / "supernet")) as own:
        interrupt.request()  # of the driver, which is this process, too
        assert files.is_interrupted()
        (own.folder / "checkpoint").write_text("saved")
    assert (study / "supernet" / "checkpoint").read_text() == "saved"


@pytest.mark.parametrize("name", ["../outside", "supernet/../../outside", "/etc/outside"])
def test_nothing_outside_of_the_study_is_read_or_written(name: str, study: Path, files: Files) -> None:
    with pytest.raises(WorkError, match="which is not in"):
        files.fetch(study / name)
    with pytest.raises(WorkError, match="which is not in"):
        files.store(study, {name: b""})


def test_this_machine_lends_nothing(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for connected, private in ((False, False), (True, True)):
        monkeypatch.setattr(study_files, "is_connected", lambda value=connected: value)
        monkeypatch.setattr(study_files, "is_private", lambda value=private: value)
        with lending(study) as files:
            assert files is None
    work = Work(study / "supernet")
    with borrow(None, work) as own:
        assert own is work
