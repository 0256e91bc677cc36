"""What a study has cost: from its own records, and from those of earlier versions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from nas.insight.best_practices import COMPLIES, FAILS, check_practices
from nas.insight.spent_time import compute_spent_times, is_supernet_complete
from nas.runtime.files import write_json
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME, Epoch, EpochHistory, SupernetEpoch
from tests.helpers.studies import make_study

SEARCHING = timedelta(seconds=90)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study", 6)


def spend(study: Study, *phases: tuple[str, float, str, int]) -> None:
    began = "2026-01-01T00:00:00+00:00"
    entries = [
        {"phase": phase, "began": began, "seconds": seconds, "device": device, "devices": devices}
        for phase, seconds, device, devices in phases
    ]
    write_json(study.folder / "times.json", entries)


def train_supernet(study: Study, first: int) -> None:
    history = EpochHistory(study.supernet_file.with_name(FILE_NAME), first - 1, SupernetEpoch)
    history.add(SupernetEpoch(first, 2.0, 0.1, 5.0))


def verdict(study: Study) -> tuple[str, str]:
    check = check_practices(study, study.records(), SEARCHING)[12]
    return check.verdict, check.reason


def test_runs_add_up(study: Study) -> None:
    spend(study, ("supernet", 1800, "cuda", 2), ("search", 60, "cpu", 2), ("supernet", 3600, "cuda", 4))
    supernet, search = compute_spent_times(study, SEARCHING)
    assert (supernet.phase, supernet.seconds, supernet.runs) == ("supernet", 5400, 2)
    assert supernet.device_hours == {"cuda": 5.0}
    assert (search.seconds, search.runs, search.record) == (60, 1, "times.json")


def test_earlier_versions_have_times_in_trials_and_tables(study: Study) -> None:
    assert [each.phase for each in compute_spent_times(study, None)] == []
    history = EpochHistory(study.retraining_folder("0" * 12, "scratch") / FILE_NAME, 0, Epoch)
    history.add(Epoch(1, 90.0, 1.0, 0.1, 7.0))
    search, retraining = compute_spent_times(study, SEARCHING)
    assert (search.seconds, search.record, search.device_hours) == (90, "the trials", {})
    assert (retraining.seconds, retraining.record) == (7, "retrained/*/*/history.csv")


def test_end_to_end_time_needs_the_whole_training_of_the_supernet(study: Study) -> None:
    assert verdict(study)[0] == FAILS and "supernet" in verdict(study)[1]
    spend(study, ("supernet", 1800, "cuda", 2), ("search", 60, "cuda", 2))
    train_supernet(study, 3)  # an earlier version made the first epochs
    assert not is_supernet_complete(study) and verdict(study)[0] == FAILS
    study.supernet_file.with_name(FILE_NAME).unlink()
    train_supernet(study, 1)
    assert verdict(study) == (COMPLIES, "supernet 30m 00s, search 1m 00s")
