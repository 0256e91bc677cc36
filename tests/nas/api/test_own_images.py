"""Searches of one's own data sets: through workers, retraining and export, and never mixed with other images."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

import nas
from nas.data.dataset import load_data
from search_spaces.errors import DataError, RequestError, StudyError
from tests.helpers.command_line import TINY_SPACE
from tests.helpers.command_line import Nas as CommandLine

COSTS: dict[str, Any] = {"budget": "1cpu,6trials", "objective": "macs,params", "batch": 6, "quiet": True}


def make(seed: int = 0, count: int = 36) -> TensorDataset:
    """Noise whose mean tells the class."""
    labels = torch.arange(count) % 3
    noise = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.3
    return TensorDataset(noise + labels.view(-1, 1, 1, 1) * 0.3, labels)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    return tmp_path / "tiny.yaml"


def test_a_study_goes_on_with_the_same_images_alone(space: Path, nas_command: CommandLine) -> None:
    found = nas.search(space, nas.load_data(train=make(), name="my noise", quiet=True), **COSTS)
    assert found.path == Path("studies/tiny-my_noise")
    again = nas.search(space, make(), study=found.path, **COSTS)
    assert again.front == found.front
    with pytest.raises(StudyError, match="was made with other images"):
        nas.search(space, make(seed=1), study=found.path, **COSTS)
    with pytest.raises(StudyError, match="holds other images than study"):
        nas.retrain(found, data=make(seed=1))
    with pytest.raises(StudyError, match="holds other images than study"):
        nas.retrain(found, data=nas.load_data(train=make(seed=1), quiet=True))
    with pytest.raises(DataError, match=r"data 'mnist5k' says where images are, which study .* knows"):
        nas.retrain(found, data="mnist5k")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"unknown part 'trian' .*did you mean 'train'"):
        nas.search(space, {"trian": make()}, **COSTS)
    with pytest.raises(DataError, match="data has no part 'train'"):
        nas.search(space, {"test": make()}, **COSTS)
    # The command line knows the study, and says where its images are to be given.
    assert nas_command("report", found.path).code == 0
    outcome = nas_command("retrain", found.path)
    assert outcome.code == 2 and "give it there as data= of nas.search or nas.retrain" in outcome.err


class Locked(TensorDataset):
    """Holds what cannot be pickled, as an open database is."""

    def __init__(self, images: TensorDataset) -> None:
        super().__init__(*images.tensors)
        self.lock = threading.Lock()


def test_images_that_cannot_be_sent_to_workers_are_refused(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where workers read them, which is not so where they fit into memory."""
    assert nas.search(space, Locked(make()), study="fits", **COSTS).front
    defaults = load_data.__kwdefaults__
    monkeypatch.setattr(load_data, "__kwdefaults__", {**defaults, "memory_limit": 1})
    with pytest.raises(
        RequestError,
        match=r"^the data set Locked, whose images do not fit into memory, cannot be sent to workers "
        r"\(TypeError: cannot pickle '_thread.lock' object\); keep what cannot be pickled",
    ):
        nas.search(space, Locked(make()), study="streamed", **COSTS)
    assert not (space.parent / "streamed").exists()
    with pytest.raises(RequestError, match="cannot be sent to workers"):
        nas.retrain("fits", data=Locked(make()), from_scratch=True)


@pytest.fixture
def nas_command(request: pytest.FixtureRequest) -> CommandLine:
    command: CommandLine = request.getfixturevalue("nas")
    return command


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_a_whole_search_of_ones_own_images(
    streamed: bool, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where they fit into memory and where workers read them from the data set itself."""
    if streamed:
        defaults = load_data.__kwdefaults__
        monkeypatch.setattr(load_data, "__kwdefaults__", {**defaults, "memory_limit": 1})
    data = nas.load_data(train=make(), name="noise", quiet=True)
    assert type(data.train.images).__name__ == ("StreamedImages" if streamed else "InMemoryImages")
    found = nas.search(
        space, data, budget="2cpu,8trials", batch=4, epochs=2, batch_size=12, retrain=1, retrain_epochs=2, export=True,
    )  # fmt: skip
    assert {each.mode for each in found.retrained} == {"scratch", "inherit"}
    (folder,) = found.exports
    config = json.loads((folder / "config.json").read_text())
    assert config["metrics"]["images"] == "dataset:noise"
    # What comes back is asked for as before, from the same images.
    (other,) = nas.retrain(found, found.front[-1].architecture, from_scratch=True, epochs=1, quiet=True)
    ((images, labels),) = data.final_test().batches(100)
    with torch.inference_mode():
        right = (other.network()(images).argmax(1) == labels).sum().item()
    assert other.test.top1 == pytest.approx(100 * right / len(labels))
    assert nas.export(other, formats="source", quiet=True).folder.is_dir()
