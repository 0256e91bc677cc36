"""Supernets: trained by every policy, by shards in turn or by ranks alike; a checkpoint belongs to one training."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, multiprocessing

from nas.data.augment import Augmentation
from nas.data.dataset import Data, load_data
from nas.runtime import interrupt
from nas.runtime.interrupt import Interrupted
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.epoch_history import FILE_NAME, SupernetEpoch, read_history
from nas.training.supernet import SupernetTask, train_rank
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.supernet_progress import TrainingProgress
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from supernet.sampling import POLICIES
from tests.helpers import workers
from tests.helpers.command_line import paint_folder
from tests.helpers.noise import three_splits
from tests.helpers.training import CPU, RECIPE, equal_tensors, train_supernet


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("sharing", ["operator", "block"])
def test_every_policy_trains_a_supernet(
    policy: str, sharing: str, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, policy=policy, sharing=sharing, recipe=replace(RECIPE, epochs=1))
    path = tmp_path / "checkpoint.safetensors"
    trained = train_supernet(space, settings, data, path, CPU)
    read = read_supernet(space, sharing, path)
    assert equal_tensors(dict(read.state_dict()), dict(trained.state_dict()))
    assert not read.training
    # Again: nothing is trained, and the result is the same.
    stamp = path.stat().st_mtime_ns
    again = train_supernet(space, settings, data, path, CPU)
    assert (
        equal_tensors(dict(again.state_dict()), dict(trained.state_dict()))
        and path.stat().st_mtime_ns == stamp
    )
    if sharing == "block":  # operators with projections of their own can have equal ones
        assert equal_tensors(
            dict(read_supernet(space, "operator", path).state_dict()), dict(trained.state_dict())
        )
    else:  # the file's names are those of shared projections too, but its weights differ
        with pytest.raises(
            CheckpointError, match="does not hold the supernet of tiny/nano with --sharing block"
        ):
            read_supernet(space, "block", path)


@pytest.mark.slow
def test_shards_in_turn_equal_shards_of_two_ranks(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    """The number of workers does not change what is trained, to the last bit."""
    settings = replace(settings, policy="sandwich", recipe=replace(RECIPE, batch_size=7, shards=2))
    alone, together = tmp_path / "alone", tmp_path / "together"
    expected = dict(train_supernet(space, settings, data, alone, CPU).state_dict())
    address = f"file://{tmp_path / 'meeting'}"
    task = SupernetTask(space, settings, data, together)
    multiprocessing.start_processes(workers.as_rank, (task, address), nprocs=2, start_method="spawn")
    trained = dict(read_supernet(space, settings.sharing, together).state_dict())
    assert equal_tensors(expected, trained)
    assert read_progress(alone) == read_progress(together) == (12, 12)
    unsharded = replace(settings, recipe=replace(settings.recipe, shards=1))
    other = dict(train_supernet(space, unsharded, data, tmp_path / "unsharded", CPU).state_dict())
    weights = {name for name in expected if "running_" not in name and "num_batches" not in name}
    assert all(torch.allclose(expected[n], other[n], atol=0.05) for n in weights)
    assert not equal_tensors({n: expected[n] for n in weights}, {n: other[n] for n in weights})


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"policy": "sandwich"}, {"sharing": "block"}, {"recipe": replace(RECIPE, lr=1e-4)}],
    ids=lambda change: next(iter(change)),
)
def test_foreign_checkpoint_is_refused(
    change: dict[str, object], space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train_supernet(space, replace(settings, recipe=replace(RECIPE, epochs=1)), data, path, CPU)
    other = replace(settings, **{"recipe": replace(RECIPE, epochs=1), **change})
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another network, teacher or recipe"):
        train_supernet(space, other, data, path, CPU)
    assert path.read_bytes() == before


def test_checkpoint_of_other_images_is_refused(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    small = replace(settings, recipe=replace(RECIPE, epochs=1))
    train_supernet(space, small, data, path, CPU)
    others = load_data(f"folder:{paint_folder(tmp_path / 'others', images=14)}")
    with pytest.raises(CheckpointError, match="belongs to another"):
        train_supernet(space, small, others, path, CPU)


def trained_on_noise(
    augmentation: Augmentation, recipe: Recipe, space: Space, folder: Path
) -> dict[str, Tensor]:
    settings = Settings(recipe=recipe)
    return dict(train_supernet(space, settings, three_splits(augmentation), folder / "c", CPU).state_dict())


@pytest.mark.parametrize(
    ("augmentation", "number"),
    [
        ("digits", {}),
        ("small", {"random_erasing": 1.0}),
        ("small", {"mixup": 1.0}),
        ("small", {"drop_path": 0.5}),
    ],
    ids=str,
)
def test_training_images_and_paths_are_varied_as_the_recipe_says(
    augmentation: Literal["digits", "small"], number: dict[str, Any], space: Space, tmp_path: Path
) -> None:
    """Each is noticed, so none of them is left out."""
    recipe = replace(RECIPE, epochs=1)
    plain = trained_on_noise(Augmentation("small"), recipe, space, tmp_path / "plain")
    again = trained_on_noise(Augmentation("small"), recipe, space, tmp_path / "again")
    varied = trained_on_noise(
        Augmentation(augmentation), replace(recipe, **number), space, tmp_path / "varied"
    )
    assert equal_tensors(plain, again) and not equal_tensors(plain, varied)


def test_every_epoch_is_recorded_over_an_interruption(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    losses: list[float] = []

    def stop_in_the_second_epoch(progress: TrainingProgress) -> None:
        losses.append(progress.loss)
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "supernet"
    task = SupernetTask(space, settings, data, folder / "checkpoint.safetensors")
    with interrupt.graceful(), pytest.raises(Interrupted):
        train_rank(task, CPU, stop_in_the_second_epoch)
    (first,) = read_history(folder / FILE_NAME, SupernetEpoch)
    train_rank(task, CPU, lambda progress: losses.append(progress.loss))
    epochs = read_history(folder / FILE_NAME, SupernetEpoch)
    assert epochs[0] == first and [epoch.epoch for epoch in epochs] == [1, 2, 3]
    # Four steps an epoch; of the second, the process that ended it made two.
    means = [fmean(losses[0:4]), fmean(losses[6:8]), fmean(losses[8:12])]
    assert [epoch.loss for epoch in epochs] == pytest.approx(means)
    assert epochs[1].lr > epochs[2].lr > 0 and all(epoch.seconds > 0 for epoch in epochs)
