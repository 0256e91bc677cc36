"""What a retraining trains, reports and keeps: each of its parts makes a difference that a test sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.data.augment import Augmentation
from nas.data.dataset import Data
from nas.data.splits import Split
from nas.runtime.documents import read_json
from nas.runtime.files import load_tensors
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.weight_digest import digest_weights
from search_spaces.space import Space
from supernet.subnet import build_subnet
from supernet.supernet import Supernet
from tests.helpers.noise import TEST, TRAIN, VAL, three_splits
from tests.helpers.training import CPU, equal_tensors

SHORT = Recipe(epochs=2, batch_size=8, lr=5e-3, ema_decay=0.5, warmup=0.5)
SMALL = Augmentation("small")


@pytest.fixture
def train(space: Space, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], dict[str, Tensor]]]:
    """Train the space's largest design and return its result and weights."""
    count = 0

    def run(
        recipe: Recipe = SHORT,
        augmentation: Augmentation = SMALL,
        weights: dict[str, Tensor] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        nonlocal count
        count += 1
        design, inherited = space.largest, {}
        if weights is not None:
            inherited = {design.digest: {name: weight.numpy() for name, weight in weights.items()}}
        job = RetrainingJob(
            Design(design),
            "scratch" if weights is None else "inherit",
            tmp_path / str(count),
            recipe,
            "0",
            None if weights is None else digest_weights(weights),
        )
        payload = {"data": three_splits(augmentation), "inherited": inherited}
        train_one(job, payload, CPU, lambda result: None)
        trained, _ = load_tensors(job.folder / "model.safetensors")
        return read_json(job.result_file), trained

    return run


def test_each_accuracy_is_of_its_own_images(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_after: list[int] = []
    final_test = Data.final_test
    epochs = 0

    def counted(self: Data) -> Split:
        seen_after.append(epochs)
        return final_test(self)

    monkeypatch.setattr(Data, "final_test", counted)
    batches = Split.batches

    def counting_epochs(self: Split, *arguments: Any, **named: Any) -> Any:
        nonlocal epochs
        epochs += len(self) == TRAIN and named.get("start", 0) == 0
        return batches(self, *arguments, **named)

    monkeypatch.setattr(Split, "batches", counting_epochs)
    result, _ = train()
    assert (result["val_top1"], result["test_top1"]) == (100.0, 0.0)
    assert (result["val_images"], result["test_images"]) == (VAL, TEST)
    assert result["test_top5"] == 100.0  # of three classes
    assert seen_after and set(seen_after) == {epochs}  # no test image before the last epoch is over


def test_inherited_weights_are_what_training_starts_from(train: Any, space: Space) -> None:
    torch.manual_seed(7)
    supernet = Supernet(space)
    weights = {name: value.clone() for name, value in supernet.extract(space.largest).state_dict().items()}
    unchanged = replace(SHORT, epochs=1, lr=1e-30)  # steps that change nothing but zeros
    _, trained = train(unchanged, weights=weights)
    statistics = {name for name in weights if "running_" in name or "num_batches" in name}
    assert len(statistics) < len(weights)
    for name in weights.keys() - statistics:
        torch.testing.assert_close(trained[name], weights[name], rtol=0, atol=1e-20)
    _, scratch = train(unchanged)
    torch.manual_seed(unchanged.seed)
    fresh = build_subnet(space.largest).state_dict()
    for name in weights.keys() - statistics:
        torch.testing.assert_close(scratch[name], fresh[name], rtol=0, atol=1e-20)


@pytest.mark.parametrize(
    "change",
    [
        {"label_smoothing": 0.0},
        {"drop_path": 0.5},
        {"ema_decay": 0.0},
        {"clip_grad": 0.05},
        {"weight_decay": 1.0},
        {"warmup": 1.0},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_number_of_the_recipe_counts(change: dict[str, Any], train: Any) -> None:
    _, one = train()
    _, same = train()
    assert equal_tensors(one, same)
    _, other = train(replace(SHORT, **change))
    matrices = [name for name, weight in one.items() if weight.dim() > 1]
    assert any(not torch.equal(one[name], other[name]) for name in matrices)


def test_training_images_are_varied(train: Any) -> None:
    _, one = train(augmentation=SMALL)
    _, other = train(augmentation=Augmentation("digits"))
    assert not equal_tensors(one, other)


def test_the_average_is_kept(train: Any) -> None:
    """With a decay near one hardly more than the first steps' weights is left; with none it is the last weights."""
    _, last = train(replace(SHORT, epochs=4, ema_decay=0.0))
    _, average = train(replace(SHORT, epochs=4, ema_decay=0.9999))
    assert not torch.allclose(last["head.weight"], average["head.weight"], atol=1e-4)
