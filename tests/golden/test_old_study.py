"""A study of version 0.1.0 opens, reports, resumes and retrains; `old_study/README.md` says how it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial

from nas.runtime.uncertainty import standard_error
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

GOLDEN = Path(__file__).parent
EXPORTED = "ce7caaf679bc"
TRIALS = 12
SEARCH = (
    *("search", "--space", "tiny.yaml", "--data", "folder:images", "--study", "./study", "--seed", "0"),
    *("--objective", "top1,macs,latency_ms", "--epochs", "1", "--batch", "6", "--batch-size", "8"),
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old study beside its space and images, and the working directory there."""
    folder = tmp_path / "study"
    shutil.copytree(GOLDEN / "old_study", folder)
    (folder / "README.md").unlink()
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    return folder


def trials_of(study: Path) -> Sequence[FrozenTrial]:
    """Read all trials as anyone with Optuna does."""
    return optuna.load_study(study_name="study", storage=f"sqlite:///{study}/study.db").trials


def test_the_report_shows_every_trial_and_the_retrained_design(nas: Nas, study: Path) -> None:
    before = trials_of(study)
    outcome = nas("report", study)
    assert outcome.code == 0, outcome.err
    page = (study / "report.html").read_text(encoding="utf-8")
    front = json.loads((study / "front.json").read_text())["front"]
    assert len(before) == TRIALS
    assert all(entry["digest"] in page for entry in front)
    assert trials_of(study) == before


def test_a_design_is_shown_by_its_digest(nas: Nas, study: Path) -> None:
    for digest in (trial.user_attrs["digest"] for trial in trials_of(study)):
        outcome = nas("show", digest, "--study", study)
        assert outcome.code == 0, outcome.err
        assert digest in outcome.out


def test_the_export_is_evaluated(nas: Nas, study: Path) -> None:
    outcome = nas("evaluate", study / "exports" / EXPORTED, "--data", "folder:images", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads((study / "retrained" / EXPORTED / "inherit" / "result.json").read_text())
    scores = json.loads(outcome.out)
    assert scores["top1"] == pytest.approx(result["test_top1"])
    assert (
        scores["top1_se"] == pytest.approx(standard_error(result["test_top1"], 6)) and scores["images"] == 6
    )


def test_other_settings_are_refused(nas: Nas, study: Path) -> None:
    outcome = nas(*SEARCH, "--budget", "1cpu,18trials", "--batch-size", "16")
    assert outcome.code == 2
    assert "batch_size" in outcome.err


def test_the_search_goes_on_without_evaluating_a_stored_design_again(nas: Nas, study: Path) -> None:
    before = trials_of(study)
    supernet = (study / "supernet" / "checkpoint.safetensors").read_bytes()
    outcome = nas(*SEARCH, "--budget", "1cpu,18trials", "--json")
    assert outcome.code == 0, outcome.err
    after = trials_of(study)
    assert after[:TRIALS] == before
    assert (study / "supernet" / "checkpoint.safetensors").read_bytes() == supernet
    evaluated = [trial.user_attrs["digest"] for trial in after if not trial.system_attrs["nas"]["repeat"]]
    assert len(evaluated) == len(set(evaluated)) == 18
    # What comes first depends on stored scores alone, hence neither on this processor nor on its speed.
    following = json.loads((GOLDEN / "resumed.json").read_text())
    assert sorted(trial.user_attrs["digest"] for trial in after[TRIALS : TRIALS + 6]) == sorted(following)
    # New trials say on how many images they were scored, and so it is known of the old ones.
    (images,) = {ours["images"] for trial in after if (ours := trial.system_attrs["nas"]).get("images")}
    front = json.loads(outcome.out)["front"]
    assert {entry["images"] for entry in front} == {images}
    for entry in front:
        assert entry["top1_se"] == standard_error(entry["scores"]["top1"], images)
        assert set(entry["ties"]) <= {other["digest"] for other in front} - {entry["digest"]}


@pytest.mark.slow
def test_a_design_is_retrained_and_exported(nas: Nas, study: Path) -> None:
    outcome = nas("retrain", study, "--arch", "4998caef79c7", "--epochs", "1", "--budget", "1cpu", "--json")
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)
    assert {result["mode"] for result in results} == {"scratch", "inherit"}
    for result in results:
        assert result["test_top1_se"] == standard_error(result["test_top1"], result["test_images"])
        assert {"val_images", "val_top1_interval", "test_top1_interval", "test_ties"} <= result.keys()
    outcome = nas("export", study, "--arch", "4998caef79c7", "--format", "source", "--json")
    assert outcome.code == 0, outcome.err
    assert (study / "exports" / "4998caef79c7" / "model.py").is_file()
