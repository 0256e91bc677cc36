"""``--inherit`` starts from the trained supernet: what reaches the trainings, tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.runtime.files import load_tensors
from nas.study.folder import Study
from nas.training import retraining
from nas.training.retraining_job import RetrainingJob
from nas.training.weight_digest import digest_weights
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

OLD = Path(__file__).parents[2] / "golden/old_study"  # of 12 trials, with its supernet


class Stop(Exception):
    """Nothing needs to be trained."""


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is given to the workers of a retraining in an old study, which then ends."""
    shutil.copytree(OLD, tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "retrained")
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.cluster.ray_cluster.start", lambda cluster: None)
    found: dict[str, Any] = {}

    def run(function: Any, jobs: list[RetrainingJob], payload: Mapping[str, Any], *rest: Any) -> None:
        found.update(jobs=jobs, **payload)
        raise Stop

    monkeypatch.setattr(retraining, "run_trials", run)
    return found


def retrain(nas: Nas, *arguments: str) -> None:
    nas("retrain", "study", "--epochs", "1", "--budget", "1cpu", *arguments)


def test_the_weights_are_the_average_of_the_trained_supernet(nas: Nas, handed_over: dict[str, Any]) -> None:
    retrain(nas, "--inherit", "--top", "2")
    space = Study(Path("study")).space()
    tensors, _ = load_tensors(Path("study/supernet/checkpoint.safetensors"))
    average = {name[4:]: value for name, value in tensors.items() if name.startswith("ema.")}
    supernet = Supernet(space)
    supernet.load_state_dict(average)
    assert not torch.equal(average["ends.head.weight"], tensors["model.ends.head.weight"])
    assert [job.mode for job in handed_over["jobs"]] == ["inherit", "inherit"]
    for job in handed_over["jobs"]:
        expected = supernet.extract(job.architecture).state_dict()
        inherited = {
            name: torch.from_numpy(value)
            for name, value in handed_over["inherited"][job.architecture.digest].items()
        }
        assert inherited.keys() == expected.keys() and job.weights == digest_weights(expected)
        for name, value in expected.items():
            assert torch.equal(inherited[name], value), name


@pytest.mark.parametrize(
    ("asked", "modes"),
    [(("--from-scratch",), ["scratch"]), (("--candidates", "1"), ["scratch", "inherit"])],
)
def test_only_who_is_asked_to_inherits(
    asked: tuple[str, ...], modes: list[str], nas: Nas, handed_over: dict[str, Any]
) -> None:
    retrain(nas, *asked)
    jobs = handed_over["jobs"]
    assert sorted({job.mode for job in jobs}, reverse=True) == modes
    assert handed_over["inherited"].keys() == {
        job.architecture.digest for job in jobs if job.mode == "inherit"
    }
    assert all((job.weights is None) == (job.mode == "scratch") for job in jobs)
