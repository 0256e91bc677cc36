"""Times of phases: over several runs, and of runs that were killed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from nas.cluster.budget import WorkerAllocation
from nas.study import time_sheet
from nas.study.time_sheet import FILE_NAME, PhaseTime, read_times, record_phase
from search_spaces.errors import StudyError

TWO_CORES = WorkerAllocation(2, 1.0, 0.0, "cpu")
THREE_GPUS = WorkerAllocation(3, 4.0, 1.0, "cuda")


def test_every_run_adds_an_entry(tmp_path: Path) -> None:
    assert read_times(tmp_path) == []
    with record_phase(tmp_path, "supernet", TWO_CORES):
        time.sleep(0.05)
    with pytest.raises(KeyError), record_phase(tmp_path, "search", THREE_GPUS):
        raise KeyError
    first, second = read_times(tmp_path)
    assert (first.phase, first.device, first.devices) == ("supernet", "cpu", 2)
    assert (second.phase, second.device, second.devices) == ("search", "cuda", 3)
    assert 0.05 <= first.seconds < 5 and second.seconds < first.seconds


def test_device_hours_are_hours_times_devices() -> None:
    assert PhaseTime("search", "2026-01-01T00:00:00+00:00", 1800.0, "cuda", 4).device_hours == 2.0


def test_a_phase_that_is_killed_has_been_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_sheet, "_WRITE_SECONDS", 0.02)
    with record_phase(tmp_path, "supernet", TWO_CORES):
        deadline = time.monotonic() + 10
        while not read_times(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        (meanwhile,) = read_times(tmp_path)  # what a kill would leave
        assert meanwhile.seconds > 0
    assert [thread.name for thread in threading.enumerate() if thread.name == "times"] == []


def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('[{"phase": "search"}]')
    with pytest.raises(StudyError, match=r"cannot read .*times\.json: it has no '0\.began'"):
        read_times(tmp_path)
    with record_phase(tmp_path, "search", TWO_CORES):  # the work itself does not fail
        pass
    assert json.loads((tmp_path / FILE_NAME).read_text()) == [{"phase": "search"}]


def test_a_folder_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    with record_phase(folder, "search", TWO_CORES):
        folder.rename(tmp_path / "elsewhere")
    assert not folder.exists()
