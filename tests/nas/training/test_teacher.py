"""A teacher is asked about the student's own images, in its own size and normalisation, and what it says is learned."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing, nn

from nas.data.dataset import Data
from nas.runtime.documents import read_json
from nas.runtime.files import load_tensors, write_json
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.supernet import SupernetTask
from nas.training.supernet_checkpoint import read_supernet
from nas.training.supernet_step import supernet_step
from nas.training.teacher import Teacher, make_teacher
from search_spaces.errors import CheckpointError, RequestError
from search_spaces.space import Space
from supernet.sampling import policy
from supernet.supernet import Supernet
from tests.helpers import workers
from tests.helpers.training import CPU, RECIPE, equal_tensors, train_supernet


class Mean(nn.Module):
    """Answers with the mean of every channel times a weight, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.shown.append(images)
        return self.dropout(images.mean((2, 3)) * self.weight)


def teacher(
    network: nn.Module | None = None,
    channels: int = 3,
    side: int = 16,
    mean: float = 0.5,
    std: float = 0.25,
    classes: tuple[str, ...] = (),
) -> Teacher:
    shape = (channels, side, side)
    network = network or Mean().train()
    return make_teacher("it", network, "mean", shape, (mean,) * channels, (std,) * channels, 3, classes, 1000)


def with_statistics(data: Data, mean: tuple[float, ...], std: tuple[float, ...]) -> Data:
    return replace(data, mean=mean, std=std, in_channels=len(mean))


def test_images_are_normalised_as_the_teacher_wants_them(data: Data) -> None:
    """By hand: a pixel of 0.7 is 1 for images of mean 0.5 and deviation 0.2; the teacher's is (0.7 - 0.4) / 0.1."""
    ask = teacher(mean=0.4, std=0.1).on(CPU, with_statistics(data, (0.5,) * 3, (0.2,) * 3))
    answer = ask(torch.ones(2, 3, 16, 16))
    torch.testing.assert_close(answer, torch.full((2, 3), 2 * 3.0))
    assert not answer.requires_grad


def test_images_are_left_alone_where_the_teacher_wants_them_so(data: Data) -> None:
    network = Mean()
    images = torch.randn(2, 3, 16, 16)
    ask = teacher(network, mean=0.5, std=0.2).on(CPU, with_statistics(data, (0.5,) * 3, (0.2,) * 3))
    torch.testing.assert_close(ask(images), 2 * images.mean((2, 3)), rtol=0, atol=0)


def test_grey_images_become_the_teachers_colours(data: Data) -> None:
    """By hand: grey 0.5 + 0.2 x, so each of three channels is (0.7 - 0.4) / 0.1 where x is 1."""
    ask = teacher(mean=0.4, std=0.1).on(CPU, with_statistics(data, (0.5,), (0.2,)))
    torch.testing.assert_close(ask(torch.ones(2, 1, 16, 16)), torch.full((2, 3), 6.0))


class Corner(nn.Module):
    """Answers with three pixels of the first channel; it refuses images that are not of 32 px."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, 32, 32)
        return images[:, 0, 0, :3]


def test_images_are_brought_to_the_teachers_size(data: Data) -> None:
    ask = teacher(Corner(), side=32).on(CPU, with_statistics(data, (0.5,) * 3, (0.25,) * 3))
    torch.testing.assert_close(ask(torch.full((2, 3, 16, 16), 0.5)), torch.full((2, 3), 0.5))


def test_what_cannot_teach_is_refused(data: Data) -> None:
    names = data.class_names
    teacher(classes=names).require_same_classes(data)
    with pytest.raises(RequestError, match="class 0 of --teacher it is 'class1' but that of the images is"):
        teacher(classes=(names[1], names[0], names[2])).require_same_classes(data)
    with pytest.raises(RequestError, match="tells 3 classes apart but the images have 2"):
        teacher().require_same_classes(replace(data, class_names=names[:2]))
    with pytest.raises(RequestError, match=r"takes images of 1 channel\(s\) but these have 3"):
        teacher(channels=1).require_same_classes(data)


def test_a_teacher_is_known_by_what_decides_its_answers() -> None:
    one = teacher()
    assert teacher().digest == one.digest
    other = Mean()
    other.weight.data += 1e-6
    assert len({each.digest for each in (one, teacher(other), teacher(side=8), teacher(std=0.2))}) == 4
    assert (one.params, one.network.training) == (1, False)


@pytest.fixture
def wise(space: Space, data: Data) -> Teacher:
    """The supernet's largest design with weights of its own, sure of its answers."""
    torch.manual_seed(9)
    network = Supernet(space).extract(space.largest)
    with torch.no_grad():
        network.head.weight.mul_(20)
    size = (3, 16, 16)
    return make_teacher(
        "wise", network, space.largest.digest, size, (0.4,) * 3, (0.3,) * 3, 3, data.class_names, 5
    )


def retrain(
    folder: Path, space: Space, data: Data, teacher: Teacher | None = None, **recipe: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train the smallest design; return its result and its weights."""
    recipe_of_job = replace(RECIPE, **{"epochs": 1, "ema_decay": 0.0, **recipe})
    taught_by = None if teacher is None else teacher.digest
    job = RetrainingJob(
        Design(space.smallest), "scratch", folder, recipe_of_job, data.digest, teacher=taught_by
    )
    train_one(job, {"data": data, "inherited": {}, "teacher": teacher}, CPU, lambda result: None)
    return read_json(job.result_file), load_tensors(folder / "model.safetensors")[0]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_design_learns_from_its_teacher(
    weight: float, space: Space, data: Data, wise: Teacher, tmp_path: Path
) -> None:
    """As its weight says: one of no weight changes nothing, to the last bit."""
    _, alone = retrain(tmp_path / "alone", space, data, teacher_weight=weight)
    result, taught = retrain(tmp_path / "taught", space, data, wise, teacher_weight=weight)
    assert equal_tensors(alone, taught) == (weight == 0)
    assert result["made_from"] == {"images": data.digest, "weights": None, "teacher": wise.digest}


def test_a_design_agrees_with_a_teacher_that_contradicts_the_labels(
    space: Space, data: Data, tmp_path: Path
) -> None:
    """A teacher that always answers with the last class is all that is learned where labels have no weight."""

    class Stubborn(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([0.0, 0.0, 9.0]).expand(len(images), 3)

    for kind in ("soft", "hard"):
        result, _ = retrain(
            *(tmp_path / kind, space, data, teacher(Stubborn())),
            teacher_weight=1.0,
            distillation=kind,
            epochs=6,
            lr=1e-2,
        )
        share = float((data.val.labels == 2).float().mean())
        assert result["val_top1"] == pytest.approx(100 * share)


def test_a_result_and_a_checkpoint_belong_to_their_teacher(
    space: Space, data: Data, wise: Teacher, tmp_path: Path
) -> None:
    taught = RetrainingJob(
        Design(space.smallest), "scratch", tmp_path, RECIPE, data.digest, teacher=wise.digest
    )
    alone = replace(taught, teacher=None)
    result, _ = retrain(tmp_path, space, data, wise)
    jobs = [replace(each, recipe=Recipe(**result["recipe"])) for each in (taught, alone)]
    assert [job.is_finished for job in jobs] == [True, False]
    assert not replace(jobs[0], teacher="0" * 64).is_finished
    # Earlier versions wrote no teacher, and results of theirs had none.
    del result["made_from"]
    write_json(taught.result_file, result)
    assert [job.is_finished for job in jobs] == [False, True]
    identities = [(job.identity, *job.former_identities) for job in jobs]
    assert not set(identities[0]) & set(identities[1])


@pytest.mark.parametrize("name", ["uniform", "sandwich"])
def test_the_supernet_learns_from_its_teacher(
    name: str, space: Space, settings: Settings, data: Data, wise: Teacher
) -> None:
    """The path that learns from labels learns from the teacher too; sandwich's others from that path's answers."""
    recipe = replace(RECIPE, label_smoothing=0.0, teacher_weight=0.25)
    settings = replace(settings, policy=name, recipe=recipe)
    torch.manual_seed(0)
    supernet = Supernet(space).train()
    images = torch.randn(6, 3, 16, 16)
    answers = wise.on(CPU, data)(images).double().log_softmax(1)
    labels = answers.argmin(1)  # what the teacher thinks least likely
    paths = policy(name)(space, settings.seed, 2)
    losses, first = [], None
    for path in paths:
        own = supernet(images, path.architecture).detach().double().log_softmax(1)
        if first is None:
            of_labels = -own[torch.arange(6), labels].mean()
            of_teacher = (answers.exp() * (answers - own)).sum(1).mean()
            assert abs(of_labels - of_teacher) > 0.05
            losses.append(0.75 * of_labels + 0.25 * of_teacher)
            first = own.exp()
        else:
            losses.append(-(first * own).sum(1).mean())
    step = supernet_step(supernet, settings, CPU, teaching=wise.on(CPU, data))
    assert float(step(2, images, labels)) == pytest.approx(float(sum(losses)) / len(paths), rel=1e-5)


def test_a_checkpoint_belongs_to_its_teacher(
    space: Space, settings: Settings, data: Data, wise: Teacher, tmp_path: Path
) -> None:
    settings = replace(settings, recipe=replace(RECIPE, epochs=1))
    path, alone = tmp_path / "taught", tmp_path / "alone"
    taught = train_supernet(space, settings, data, path, CPU, teacher=wise)
    untaught = train_supernet(space, settings, data, alone, CPU)
    assert not equal_tensors(dict(taught.state_dict()), dict(untaught.state_dict()))
    other = replace(wise, digest="0" * 64)
    for foreign, at in ((other, path), (None, path), (wise, alone)):
        with pytest.raises(CheckpointError, match="belongs to another network, teacher or recipe"):
            train_supernet(space, settings, data, at, CPU, teacher=foreign)
    again = train_supernet(space, settings, data, path, CPU, teacher=pickle.loads(pickle.dumps(wise)))
    assert equal_tensors(dict(taught.state_dict()), dict(again.state_dict()))


def test_two_workers_are_taught_as_one(
    space: Space, settings: Settings, data: Data, wise: Teacher, tmp_path: Path
) -> None:
    """To the last bit: each asks the teacher about its own shards."""
    settings = replace(settings, recipe=replace(RECIPE, batch_size=8, shards=2, epochs=1))
    alone, together = tmp_path / "alone", tmp_path / "together"
    expected = dict(train_supernet(space, settings, data, alone, CPU, teacher=wise).state_dict())
    task = SupernetTask(space, settings, data, together, teacher=wise)
    address = f"file://{tmp_path / 'meeting'}"
    multiprocessing.start_processes(workers.as_rank, (task, address), nprocs=2, start_method="spawn")
    trained = dict(read_supernet(space, settings.sharing, together).state_dict())
    learned = {name for name in expected if "num_batches" not in name}
    assert equal_tensors({n: expected[n] for n in learned}, {n: trained[n] for n in learned})
