"""Training steps of a program's own: in workers, in a study's files, and refused where they would train nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import nas
from nas import TrainingBatch
from nas.runtime.files import load_tensors
from search_spaces.errors import RequestError, StudyError
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder
from tests.helpers.in_process import use_this_process


def shifted(network: nn.Module, batch: TrainingBatch) -> Tensor:
    """A loss of the same gradients as the recipe's."""
    return batch.recipe_loss(network(batch.images)) + 100


def number(network: nn.Module, batch: TrainingBatch) -> Any:
    return batch.recipe_loss(network(batch.images)).item()


def plain(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return batch.recipe_loss(network(batch.images))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    return tmp_path


SHORT: dict[str, Any] = {
    "budget": "1cpu,4trials",
    "batch": 4,
    "epochs": 2,
    "batch_size": 12,
    "retrain_epochs": 2,
    "quiet": True,
}


def test_a_step_that_trains_nothing_is_refused_and_nothing_is_written(place: Path) -> None:
    lock = threading.Lock()

    def locked(network: nn.Module, batch: TrainingBatch) -> Tensor:
        with lock:
            return shifted(network, batch)

    for step, sentence in (
        (number, r"^training step 'number' returned \d\.\d+; return the loss, a scalar tensor of floats"),
        (
            locked,
            r"^training step 'locked' cannot be sent to workers \(TypeError: cannot pickle '_thread.lock'",
        ),
        (lambda network, batch: shifted(network, batch), "^training_step must be a function with a name"),
    ):
        with pytest.raises(RequestError, match=sentence):
            nas.search("tiny.yaml", "folder:images", study="s", training_step=step, **SHORT)
    assert not (place / "studies").exists()


def losses(file: Path) -> list[float]:
    head, *rows = (line.split(",") for line in file.read_text().splitlines())
    column = next(index for index, name in enumerate(head) if "loss" in name)
    return [float(row[column]) for row in rows]


def shared(study: Path, design: nas.Architecture) -> list[Path]:
    return [study / "supernet", study / f"retrained/{design.digest}/scratch"]


def test_a_search_and_its_retraining_minimise_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A loss that is larger by a constant is told by its value, and trains the very same weights."""
    use_this_process(monkeypatch)
    usual = nas.search("tiny.yaml", "folder:images", study="usual", **SHORT)
    found = nas.search("tiny.yaml", "folder:images", study="own", training_step=shifted, **SHORT)
    assert yaml.safe_load((found.path / "study.yaml").read_text())["training_step"] == "shifted"
    assert "training_step" not in (usual.path / "study.yaml").read_text()
    design = found.front[0].architecture
    again: dict[str, Any] = {"from_scratch": True, "budget": "1cpu", "quiet": True}
    for each in (usual, found):  # the program that searched has the step at hand
        nas.retrain(each, design, **again)
    for one, other in zip(shared(usual.path, design), shared(found.path, design), strict=True):
        usual_losses = losses(one / "history.csv")
        assert losses(other / "history.csv") == pytest.approx([100 + loss for loss in usual_losses], rel=1e-5)
        assert len(usual_losses) == 2
        file = "checkpoint.safetensors" if one.name == "supernet" else "model.safetensors"
        ours, theirs = load_tensors(one / file)[0], load_tensors(other / file)[0]
        assert ours.keys() == theirs.keys()
        for name, weight in ours.items():
            torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-5)
    (result,) = found.retrained
    assert result.result["made_from"]["training_step"] == "shifted"
    # Another step is another study, and another retraining.
    with pytest.raises(StudyError, match="was made with training_step=shifted, not plain"):
        nas.search("tiny.yaml", "folder:images", study="own", training_step=plain, **SHORT)
    with pytest.raises(StudyError, match="was made with training_step=shifted, not None"):
        nas.search("tiny.yaml", "folder:images", study="own", **SHORT)
    with pytest.raises(RequestError, match=r"^the study trains by step 'shifted', a function of a Python pr"):
        nas.retrain(found.path, design, **again)
    (other_result,) = nas.retrain(found.path, design, training_step=plain, **again)
    assert other_result.result["made_from"]["training_step"] == "plain"
    as_usual, anew = (losses(shared(path, design)[1] / "history.csv") for path in (usual.path, found.path))
    assert anew == pytest.approx(as_usual, rel=1e-5)
    # The command line searches on with the trained supernet, and leaves training to the program.
    command: Nas = request.getfixturevalue("nas")
    outcome = command(
        "search", "--config", found.path / "study.yaml", "--study", "own", "--budget", "1cpu,6trials"
    )
    assert outcome.code == 0, outcome.err
    outcome = command("retrain", "own")
    assert outcome.code == 2 and "the study trains by step 'shifted'" in outcome.err


@pytest.mark.slow
def test_workers_take_the_steps_of_a_script(place: Path) -> None:
    """A function without a module of its own travels to the workers of both trainings, two of them together."""
    reached = 2.0

    def local(network: nn.Module, batch: TrainingBatch) -> Tensor:
        return reached * plain(network, batch) + 100

    found = nas.search(
        "tiny.yaml", "folder:images", study="own", training_step=local, retrain=1, candidates=1,
        **{**SHORT, "budget": "2cpu,4trials"},
    )  # fmt: skip
    histories = [found.path / "supernet/history.csv", *found.path.glob("retrained/*/*/history.csv")]
    assert len(histories) == 3 and all(min(losses(file)) > 100 for file in histories)
