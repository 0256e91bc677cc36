"""What a retrained network answered is kept, so that other weights under its name are noticed before an export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data.augment import Augmentation
from nas.runtime.files import load_tensors, save_tensors
from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.training.retraining_job import RetrainingJob
from nas.training.retraining_result import trained_network
from nas.training.stored_logits import read_stored_images
from nas.training.subnet import train_one
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from tests.golden.test_old_study import GOLDEN
from tests.helpers.noise import three_splits
from tests.helpers.training import CPU


@pytest.fixture
def retrained(space: Space, tmp_path: Path) -> tuple[Study, Path]:
    """A study with a retrained design, and that design's folder."""
    study, design = Study(tmp_path / "study"), space.largest
    folder = study.retraining_folder(design.digest, "scratch")
    recipe = Recipe(epochs=1, batch_size=8, lr=5e-3)
    train_one(
        RetrainingJob(Design(design), "scratch", folder, recipe, "0"),
        {"data": three_splits(Augmentation("small")), "inherited": {}},
        CPU,
        lambda result: None,
    )
    return study, folder


def test_weights_answer_what_they_answered(retrained: tuple[Study, Path]) -> None:
    study, folder = retrained
    network = trained_network(study, study.read_result(folder / "result.json"))
    stored, _ = load_tensors(folder / "logits.safetensors")
    split = three_splits(Augmentation("small")).val
    expected, _ = next(split.batches(4))
    assert torch.equal(stored["images"], expected) and torch.equal(expected, read_stored_images(folder))  # type: ignore[arg-type]
    with torch.inference_mode():
        assert torch.equal(network(expected), stored["logits"])


def test_other_weights_under_the_same_name_are_noticed(
    retrained: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They have a right checksum: somebody wrote them again."""
    study, folder = retrained
    result = study.read_result(folder / "result.json")
    weights, metadata = load_tensors(folder / "model.safetensors")
    weights["head.bias"][0] += 0.1
    save_tensors(folder / "model.safetensors", weights, metadata)
    with pytest.raises(
        CheckpointError, match=r"are not those that were trained: their logits differ by 0\.1 "
    ):
        trained_network(study, result)
    weights["head.bias"][0] = float("nan")
    save_tensors(folder / "model.safetensors", weights, metadata)
    with pytest.raises(CheckpointError, match=r"1 not finite .*retrain the design"):
        trained_network(study, result)


@pytest.mark.parametrize(
    "tensors", [{"images": torch.zeros(1, 3, 5, 5), "logits": torch.zeros(1, 99)}, {"images": torch.zeros(1)}]
)
def test_answers_of_another_network_are_said(
    retrained: tuple[Study, Path], tensors: dict[str, torch.Tensor]
) -> None:
    study, folder = retrained
    save_tensors(folder / "logits.safetensors", tensors)
    with pytest.raises(CheckpointError, match="does not hold answers of this network"):
        trained_network(study, study.read_result(folder / "result.json"))


def test_results_of_earlier_versions_have_no_answers() -> None:
    study = Study(GOLDEN / "old_study")
    (result, *_) = study.results()
    trained_network(study, result)
    assert read_stored_images(study.retraining_folder(result["digest"], result["mode"])) is None
