"""A teacher is asked once about every unvaried training image, and its answers follow the images from then on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.augment import Augmentation
from nas.data.dataset import Data, load_data
from nas.data.reading import FIRST_READING
from nas.runtime.documents import read_json
from nas.runtime.files import load_tensors, save_tensors
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.criterion import Criterion
from nas.training.lesson import prepare_lesson
from nas.training.retraining_job import RetrainingJob
from nas.training.stored_answers import (
    StoredAnswers,
    TrainingTeacher,
    digest_images,
    read_answers,
    require_to_fit,
)
from nas.training.subnet import train_one
from nas.training.supernet_step import supernet_step
from nas.training.teacher import Teacher, make_teacher
from nas.training.teacher_examination import Examination, examine_teacher
from search_spaces.errors import CheckpointError, RequestError, WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.noise import three_splits
from tests.helpers.training import CPU, RECIPE, equal_tensors, train_supernet


class Means(nn.Module):
    """Answers with the mean of every channel, times a weight."""

    def __init__(self, weight: float = 4.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) * self.weight


def make(network: nn.Module | None = None) -> Teacher:
    network = network or Means()
    return make_teacher("it", network, "means", (3, 16, 16), (0.4,) * 3, (0.5,) * 3, 3, (), 1000)


def examine(teacher: Teacher, data: Data, folder: Path, *, keeps_answers: bool = True) -> Examination:
    examination = Examination(teacher, data, folder, keeps_answers)
    examine_teacher(examination, CPU, lambda done: None)
    return examination


def answers_of(teacher: Teacher, data: Data, folder: Path) -> StoredAnswers:
    return read_answers(examine(teacher, data, folder).answers_file, teacher, data)


def copy_in_another_order(root: Path, target: Path) -> Path:
    """Copy a folder of classes; what was the first file of a class is the last one."""
    for folder in (path for path in root.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
            shutil.copy(file, target / folder.name / f"{number:03}{file.suffix}")
    return target


def pixels_of(data: Data, indices: Tensor) -> Tensor:
    return data.train.images.pixels[indices].double() / 255  # type: ignore[attr-defined]


def test_it_is_asked_about_every_image_as_it_is(data: Data, tmp_path: Path) -> None:
    """By hand from the pixels, in the order of the images; half precision knows three digits of them."""
    stored = answers_of(make(), data, tmp_path)
    expected = 4 * (pixels_of(data, data.train.indices).mean((2, 3)) - 0.4) / 0.5
    assert stored.logits.dtype == torch.float16
    torch.testing.assert_close(stored.logits.double(), expected, rtol=1e-3, atol=2e-3)
    assert torch.equal(stored.labels, data.train.labels)


def test_its_accuracy_is_counted_by_hand(data: Data, tmp_path: Path) -> None:
    examination = examine(make(), data, tmp_path, keeps_answers=False)
    right = pixels_of(data, data.val.indices).mean((2, 3)).argmax(1) == data.val.labels
    accuracy = examination.read_accuracy()
    assert accuracy is not None and accuracy.images == len(data.val)
    assert accuracy.top1 == pytest.approx(100 * float(right.double().mean()))
    record = read_json(examination.record_file)
    assert (record["name"], record["digest"]) == ("it", make().digest)
    assert not examination.answers_file.exists()


def test_what_is_known_is_not_asked_again(data: Data, tmp_path: Path) -> None:
    teacher = make()
    images = len(data.val), len(data.train)
    assert Examination(teacher, data, tmp_path, keeps_answers=True).total == sum(images)
    examine(teacher, data, tmp_path, keeps_answers=False)
    assert Examination(teacher, data, tmp_path, keeps_answers=False).total == 0
    assert Examination(teacher, data, tmp_path, keeps_answers=True).total == images[1]
    examine(teacher, data, tmp_path)
    assert Examination(teacher, data, tmp_path, keeps_answers=True).total == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    examine(teacher, data, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_answers_belong_to_their_teacher_and_images(data: Data, images: Path, tmp_path: Path) -> None:
    """Another teacher, other pixels, and the same ones in another order are asked about anew."""
    examine(make(), data, tmp_path)
    everything = len(data.val) + len(data.train)
    assert Examination(make(Means(5.0)), data, tmp_path, keeps_answers=True).total == everything
    # Version 0.1 had them in the order of their names, and a digest that did not look at them.
    spec, former = f"folder:{images}", load_data(f"folder:{images}", reading=FIRST_READING)
    copied = copy_in_another_order(images, tmp_path / "renamed")
    renamed = load_data(f"folder:{copied}", reading=FIRST_READING)
    assert renamed.first_digest(spec) == former.first_digest(spec)
    examine(make(), replace(former, digest="0"), tmp_path)
    renamed = replace(renamed, digest="0")
    assert digest_images(replace(former, train_order=renamed.train_order)) != digest_images(former)
    for other in (replace(data, digest="1"), replace(data, image_size=8)):
        assert digest_images(other) != digest_images(data)
        assert Examination(make(), other, tmp_path, keeps_answers=True).total == everything
    assert Examination(make(), renamed, tmp_path, keeps_answers=True).total == everything
    stored = answers_of(make(), renamed, tmp_path)  # replaces them
    expected = 4 * (pixels_of(renamed, renamed.train.indices).mean((2, 3)) - 0.4) / 0.5
    torch.testing.assert_close(stored.logits.double(), expected, rtol=1e-3, atol=2e-3)
    assert Examination(make(), data, tmp_path, keeps_answers=True).lacks_answers


def test_damaged_answers_are_one_sentence(data: Data, tmp_path: Path) -> None:
    path = examine(make(), data, tmp_path).answers_file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="delete it and make it anew") as error:
        examine(make(), data, tmp_path)
    assert "\n" not in str(error.value)


def test_answers_that_are_no_numbers_are_not_kept(data: Data, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="--teacher it answers with logits that are no numbers"):
        examine(make(Means(1e6)), data, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_too_many_answers_are_refused() -> None:
    """ImageNet's: 1,281,167 x 1000 x 2 bytes are 2.386 GiB; of its first hundred classes a hundredth of that."""
    clean = Recipe(teacher_images="clean")
    with pytest.raises(
        RequestError, match=r"retraining.teacher_images is clean, .* take 2.4 GiB .* above 2.0"
    ):
        require_to_fit(clean, "retraining", 1_281_167, 1000)
    require_to_fit(clean, "retraining", 128_117, 100)
    require_to_fit(Recipe(), "retraining", 1_281_167, 1000)


@pytest.mark.parametrize("repeats", [1, 3])
def test_numbers_follow_the_images(repeats: int, data: Data) -> None:
    """In every order, with copies of an image, and in the shares of two workers."""
    way = replace(data.augmentation, repeats=repeats)
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        for epoch in range(2):
            batches = [
                list(split.batches(8, shuffle_seed=5, epoch=epoch, augment=way, rank=rank, world=world))
                for split in (data.train, data.train.numbered())
            ]
            for (images, labels), (same, numbers) in zip(*batches, strict=True):
                assert torch.equal(images, same) and torch.equal(data.train.labels[numbers], labels)
    for images, numbers in data.train.numbered().batches(8, shuffle_seed=5):
        own = images * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
        expected = pixels_of(data, data.train.indices[numbers]).float()
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)


def test_a_shard_learns_the_answers_about_its_images() -> None:
    """By hand: rows of the table by number, mixed by the images' shares."""
    recipe = Recipe(mixup=0.8, teacher_weight=1.0)
    table = StoredAnswers("it", "0", torch.eye(5, 3).half() * 4, torch.tensor([2, 0, 1, 2, 0])).on(
        CPU, three_splits(Augmentation("small"))
    )
    criterion, numbers, images = Criterion(recipe, 3), torch.tensor([4, 0, 1, 1]), torch.rand(4, 3, 8, 8)
    lesson = prepare_lesson(criterion, table, 7, 3, images, numbers)
    mixed, targets = criterion.prepare(7, 3, images, torch.tensor([0, 2, 0, 0]))
    assert torch.equal(lesson.images, mixed) and torch.equal(lesson.targets, targets)
    share = float((mixed[0] - images[3]).flatten()[0] / (images[0] - images[3]).flatten()[0])
    rows = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 4, 0]]).softmax(1)
    wanted = torch.stack([share * rows[i] + (1 - share) * rows[3 - i] for i in range(4)])
    logits = torch.randn(4, 3)
    expected = F.kl_div(logits.log_softmax(1), wanted, reduction="batchmean")
    torch.testing.assert_close(criterion.loss(logits, *lesson[1:]), expected, rtol=1e-3, atol=1e-4)


class Stubborn(nn.Module):
    """Always answers with the last class."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 9.0]).expand(len(images), 3)


def retrain(
    folder: Path, space: Space, data: Data, teacher: TrainingTeacher, **recipe: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train the smallest design; return its result and its weights."""
    numbers = replace(RECIPE, **{"epochs": 1, "ema_decay": 0.0, **recipe})
    job = RetrainingJob(
        Design(space.smallest), "scratch", folder, numbers, data.digest, teacher=teacher.digest
    )
    train_one(job, {"data": data, "inherited": {}, "teacher": teacher}, CPU, lambda result: None)
    return read_json(job.result_file), load_tensors(folder / "model.safetensors")[0]


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_stored_answers_teach_as_those_of_every_step(
    kind: str, space: Space, data: Data, tmp_path: Path
) -> None:
    """To the bit, where the teacher says the same of every image."""
    teacher = make(Stubborn())
    stored = answers_of(teacher, data, tmp_path / "teacher")
    _, varied = retrain(tmp_path / "varied", space, data, teacher, distillation=kind)
    result, clean = retrain(tmp_path / "clean", space, data, stored, distillation=kind)
    assert equal_tensors(varied, clean)
    assert result["teacher"] == {"name": "it", "digest": teacher.digest}
    assert result["made_from"]["teacher"] == teacher.digest


def test_stored_answers_need_no_teacher_and_have_their_weight(
    space: Space, data: Data, tmp_path: Path
) -> None:
    stored = answers_of(make(), data, tmp_path / "teacher")
    other = replace(stored, logits=-stored.logits)
    taught = [
        retrain(tmp_path / str(number), space, data, answers, teacher_weight=weight)[1]
        for number, (answers, weight) in enumerate([(stored, 0.0), (other, 0.0), (stored, 0.5), (other, 0.5)])
    ]
    assert equal_tensors(taught[0], taught[1])
    assert not equal_tensors(taught[2], taught[3]) and not equal_tensors(taught[0], taught[2])


def test_a_result_says_who_taught_it_and_how_good_that_one_was(
    space: Space, data: Data, tmp_path: Path
) -> None:
    examination = examine(make(), data, tmp_path, keeps_answers=False)
    accuracy = examination.read_accuracy()
    assert accuracy is not None
    result, _ = retrain(tmp_path / "job", space, data, replace(make(), accuracy=accuracy))
    assert result["teacher"] == {
        name: value for name, value in read_json(examination.record_file).items() if name != "images"
    }


def test_the_supernet_learns_from_stored_answers(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    teacher = make(Stubborn())
    stored = answers_of(teacher, data, tmp_path / "teacher")
    settings = replace(settings, recipe=replace(RECIPE, epochs=1, batch_size=8, shards=2))
    varied = train_supernet(space, settings, data, tmp_path / "varied", CPU, teacher=teacher)
    clean = train_supernet(space, settings, data, tmp_path / "clean", CPU, teacher=stored)
    assert equal_tensors(dict(varied.state_dict()), dict(clean.state_dict()))
    supernet = Supernet(space).train()
    numbers, images = torch.tensor([3, 0, 5, 1]), torch.randn(4, 3, 16, 16)
    steps = [
        supernet_step(supernet, settings, CPU, teaching=each.on(CPU, data))
        for each in (stored, replace(stored, logits=-stored.logits))
    ]
    assert len({float(step(0, images, numbers)) for step in steps}) == 2


def test_answers_about_other_images_are_refused(data: Data, tmp_path: Path) -> None:
    path = examine(make(), data, tmp_path).answers_file
    tensors, metadata = load_tensors(path)
    save_tensors(path, {"logits": tensors["logits"][:-1]}, metadata)
    with pytest.raises(CheckpointError, match="answers about"):
        read_answers(path, make(), data)
