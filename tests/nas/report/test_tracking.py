"""What a study writes is sent to a tracker once, also after it was gone on with; a tracker that fails stops nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas.report.trackers import TrackerSpec, parse_tracker
from nas.report.tracking import follow
from nas.runtime.console import log
from nas.study.folder import Study
from nas.training.epoch_history import FILE_NAME, Epoch, EpochHistory, SupernetEpoch
from search_spaces.errors import NasError
from tests.helpers.studies import make_study

TRIALS = 3


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of a few trials, whose supernet was trained for two epochs."""
    made = make_study(tmp_path / "made", TRIALS)
    add_epochs(made, 2)
    return made


def add_epochs(study: Study, count: int) -> None:
    """Write what the supernet's training writes at the end of every epoch."""
    history = EpochHistory(study.supernet_file.with_name(FILE_NAME), 0, SupernetEpoch)
    for number in range(1, count + 1):
        history.add(SupernetEpoch(number, 1 / number, 0.01, 2.0))


def retrain(study: Study) -> str:
    """Write a retrained design of two epochs; return the name of its run."""
    folder = study.retraining_folder("0123456789ab", "scratch")
    history = EpochHistory(folder / FILE_NAME, 0, Epoch)
    history.add(Epoch(1, 50.0, 2.0, 0.01, 1.0))
    history.add(Epoch(2, 60.0, 1.0, 0.005, 1.0))
    (folder / "result.json").write_text(json.dumps({"test_top1": 58.0}))
    return "retrained/0123456789ab/scratch"


def scalars(study: Study, run: str, name: str) -> list[tuple[int, float]]:
    """Return what TensorBoard itself reads of a run, in the order in which it was written."""
    events = EventAccumulator(str(study.folder / "tensorboard" / run)).Reload()
    return [(each.step, round(each.value, 4)) for each in events.Scalars(name)]


def test_tensorboard_has_everything_once(study: Study) -> None:
    for epochs in (2, 3):
        with follow(study, parse_tracker("tensorboard")):
            add_epochs(study, epochs)
            run = retrain(study)
    assert scalars(study, "supernet", "loss") == [(1, 1.0), (2, 0.5), (3, 0.3333)]
    assert scalars(study, run, "val_top1") == [(1, 50.0), (2, 60.0)]
    assert scalars(study, run, "test_top1") == [(3, 58.0)]
    stored = [record.scores["macs"] for record in study.records()]
    assert len(stored) == TRIALS
    assert [value for _, value in scalars(study, "trials", "macs")] == stored


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_mlflow_has_everything_once(study: Study) -> None:
    from mlflow import MlflowClient

    for epochs in (2, 3):
        with follow(study, parse_tracker("mlflow")):
            add_epochs(study, epochs)
    client = MlflowClient(tracking_uri=f"sqlite:///{study.folder.resolve() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    runs = {run.info.run_name: run.info.run_id for run in found}
    assert set(runs) == {"supernet", "trials"}
    losses = client.get_metric_history(runs["supernet"], "loss")
    assert sorted((each.step, round(each.value, 4)) for each in losses) == [(1, 1.0), (2, 0.5), (3, 0.3333)]


@dataclass
class Recorder:
    """A tracker that keeps what it is given, and fails where it is told to."""

    fails: bool = False
    rows: list[tuple[str, int, Mapping[str, float]]] = field(default_factory=list)
    closed: bool = False

    def write(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        if self.fails:
            raise ConnectionError("nobody answers")
        self.rows.append((run, step, metrics))

    def flush(self) -> None:
        """Everything is written at once."""

    def close(self) -> None:
        self.closed = True


def test_what_is_new_is_sent_while_the_work_goes_on(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(TrackerSpec, "open", lambda *arguments: recorder)
    with follow(study, TrackerSpec("tensorboard"), seconds=0.05):
        deadline = time.monotonic() + 30
        while not any(run == "supernet" for run, _, _ in recorder.rows):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not recorder.closed
    assert recorder.closed and len(recorder.rows) == 2 + TRIALS


def test_a_tracker_that_fails_is_said_once_and_stops_nothing(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "say", said.append)
    monkeypatch.setattr(TrackerSpec, "open", lambda *arguments: Recorder(fails=True))
    with follow(study, TrackerSpec("mlflow", "http://127.0.0.1:1"), seconds=0.01):
        time.sleep(0.2)
    assert said == ["mlflow:http://127.0.0.1:1 takes no more metrics (ConnectionError: nobody answers)"]
    assert not (study.folder / "tracking.json").exists()


def test_nothing_is_written_where_nothing_is_asked_for(study: Study) -> None:
    before = sorted(study.folder.rglob("*"))
    with follow(study, None):
        pass
    assert sorted(study.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("wandb", "known: mlflow, tensorboard"),
        ("tensorboard:/somewhere", "takes no address"),
        ("mlflow:https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_wrong_trackers_are_refused(typed: str, says: str) -> None:
    with pytest.raises(NasError, match=says) as refused:
        parse_tracker(typed)
    assert refused.value.exit_code == 2 and "secret" not in str(refused.value)


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(NasError, match=r"--track mlflow: .* pip install 'nas\[mlflow\]'"):
        parse_tracker("mlflow:http://127.0.0.1:5000")
