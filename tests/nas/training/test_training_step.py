"""Steps that a program computes itself: what they are given, what they minimise, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.dataset import Data
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.criterion import Criterion
from nas.training.lesson import Lesson
from nas.training.own_functions import OwnFunctions
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.subnet_step import subnet_step
from nas.training.supernet import SupernetTask, train_rank
from nas.training.supernet_step import supernet_step
from nas.training.training_step import TrainingBatch, batch_of, name_step, recipe_step
from search_spaces.errors import CheckpointError, RequestError, WorkError
from search_spaces.space import Space
from supernet.sampling import POLICIES, policy
from supernet.subnet import build_subnet
from supernet.supernet import Supernet
from tests.helpers.training import CPU, RECIPE, equal_tensors

Step = Callable[[nn.Module, TrainingBatch], Tensor]


def plain(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return batch.recipe_loss(network(batch.images))


def doubled(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return 2 * batch.recipe_loss(network(batch.images))


def squared(network: nn.Module, batch: TrainingBatch) -> Tensor:
    logits = network(batch.images)
    return (logits - F.one_hot(batch.targets, logits.shape[1])).square().mean()


def sevens(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return 0 * network(batch.images).sum() + 7


@pytest.fixture
def supernet(space: Space) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space).train()


def images_and_labels(count: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 3


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def take(supernet: Supernet, settings: Settings, step: Step, **how: Any) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and the gradients of a supernet's step, whose statistics are left as they were."""
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    supernet.zero_grad(set_to_none=True)
    loss = float(supernet_step(supernet, settings, CPU, training_step=step, **how)(5, *images_and_labels()))
    for name, buffer in supernet.named_buffers():
        buffer.copy_(before[name])
    return loss, gradients(supernet)


@pytest.mark.parametrize("name", POLICIES)
def test_the_recipes_step_written_out_is_the_default_and_a_doubled_one_doubles(
    name: str, supernet: Supernet, settings: Settings
) -> None:
    settings = replace(settings, policy=name, recipe=replace(RECIPE, label_smoothing=0.1, mixup=0.2))
    loss, found = take(supernet, settings, recipe_step)
    assert found
    same, written_out = take(supernet, settings, plain)
    assert same == loss and equal_tensors(found, written_out)
    twice, larger = take(supernet, settings, doubled)
    assert twice == 2 * loss
    assert equal_tensors({each: 2 * value for each, value in found.items()}, larger)


def test_squared_errors_move_the_heads_bias_as_by_hand(supernet: Supernet, settings: Settings) -> None:
    """Of the mean over images and classes: ``2 (logit - target) / classes``, averaged over images."""
    images, labels = images_and_labels()
    (path,) = policy("uniform")(supernet.space, settings.seed, 5)
    logits = supernet(images, path.architecture).double()
    error = logits - torch.eye(3, dtype=torch.double)[labels]
    loss, found = take(supernet, settings, squared)
    assert loss == pytest.approx(error.square().mean().item(), rel=1e-5)
    torch.testing.assert_close(
        found["ends.head.bias"].double(), (2 * error / 3).mean(0), rtol=1e-4, atol=1e-6
    )


def test_a_network_alone_is_stepped_by_the_same_function(space: Space) -> None:
    torch.manual_seed(0)
    network, (images, labels) = build_subnet(space.smallest).train(), images_and_labels()
    recipe = Recipe(label_smoothing=0.0)
    for size in (None, space.smallest.image_size):
        found = []
        for step in (recipe_step, plain, doubled, squared):
            network.zero_grad(set_to_none=True)
            run = subnet_step(network, recipe, CPU, image_size=size, training_step=step)
            found.append((float(run(0, images, labels)), gradients(network)))
        (loss, usual), (same, explicit), (twice, larger), (error, _) = found
        assert same == loss and equal_tensors(usual, explicit)
        assert twice == 2 * loss and equal_tensors({k: 2 * v for k, v in usual.items()}, larger)
        own = (network(images) - F.one_hot(labels, 3)).square().mean().item()
        assert error == pytest.approx(own, rel=1e-5)


def test_what_a_step_is_given(supernet: Supernet, settings: Settings) -> None:
    seen: list[TrainingBatch] = []

    def look(network: nn.Module, batch: TrainingBatch) -> Tensor:
        assert network.training and network(batch.images).shape == (6, 3)
        seen.append(batch)
        return plain(network, batch)

    images, labels = images_and_labels()
    take(supernet, settings, look, teaching=lambda given: given.mean((2, 3)) * 3)
    (alone,) = seen
    assert torch.equal(alone.images, images) and torch.equal(alone.targets, labels) and alone.step == 5
    assert alone.teacher_logits is not None and torch.equal(alone.teacher_logits, images.mean((2, 3)) * 3)
    seen.clear()
    take(supernet, replace(settings, recipe=replace(RECIPE, mixup=0.5)), look)
    (mixed,) = seen
    assert mixed.teacher_logits is None and mixed.targets.shape == (6, 3)
    assert not torch.equal(mixed.images, images)
    seen.clear()
    take(supernet, replace(settings, policy="sandwich"), look)
    largest, *others = seen
    assert largest.teacher_logits is None and len(others) == 3
    answer = supernet(images, supernet.space.largest)
    for other in others:  # the largest path teaches them
        assert other.teacher_logits is not None
        torch.testing.assert_close(other.teacher_logits, answer)


def test_stored_answers_are_mixed_as_the_images_are() -> None:
    """Of images that are mixed after a teacher answered, a step is given the mixture of its probabilities."""
    criterion, labels = Criterion(Recipe(mixup=8.0), 3), torch.arange(4) % 3
    images, logits = torch.randn(4, 3, 8, 8), torch.randn(4, 3)
    mixing = criterion.mixing(0, 0, images)
    assert mixing is not None and 0.1 < mixing.share < 0.9
    batch = batch_of(Lesson(*criterion.prepare(0, 0, images, labels), logits, mixing), criterion, 0)
    rows = logits.double().softmax(1)
    expected = mixing.share * rows + (1 - mixing.share) * rows.flip(0)
    assert batch.teacher_logits is not None
    torch.testing.assert_close(batch.teacher_logits.softmax(1).double(), expected, rtol=1e-5, atol=1e-6)


def number(network: nn.Module, batch: TrainingBatch) -> Any:
    return plain(network, batch).item()


def rows(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return F.cross_entropy(network(batch.images), batch.targets, reduction="none")


def detached(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return plain(network, batch).detach()


def broken(network: nn.Module, batch: TrainingBatch) -> Tensor:
    raise KeyError("margin")


def undefined(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return plain(network, batch) * float("nan")


def elsewhere(network: nn.Module, batch: TrainingBatch) -> Tensor:
    return torch.zeros((), requires_grad=True) * 2


@pytest.mark.parametrize(
    ("step", "sentence", "while_it_trains"),
    [
        (number, r"^training step 'number' returned \d\.\d+; return the loss, a scalar tensor", True),
        (rows, r"^training step 'rows' returned a tensor of shape \(4,\); return the loss", True),
        (detached, "^training step 'detached' returned a loss without a graph; compute it of network", True),
        (broken, r"^training step 'broken' failed \(KeyError: 'margin'\)$", True),
        (undefined, "^training step 'undefined' returned nan for an untrained network; return a", False),
        (elsewhere, "^training step 'elsewhere' returned a loss that moves no weight of the network", False),
    ],
)
def test_what_trains_nothing_is_refused_before_and_while(
    step: Step, sentence: str, while_it_trains: bool, space: Space, supernet: Supernet, settings: Settings
) -> None:
    state = torch.random.get_rng_state()
    with pytest.raises(RequestError, match=sentence):
        OwnFunctions(training_step=step).try_step(space.smallest, RECIPE, taught=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    if while_it_trains:
        with pytest.raises(WorkError, match=sentence.replace(r"\(4,\)", r"\(6,\)")):
            take(supernet, settings, step)


def test_a_step_that_works_is_tried_without_a_word(space: Space) -> None:
    seen: list[bool] = []

    def look(network: nn.Module, batch: TrainingBatch) -> Tensor:
        seen.append(batch.teacher_logits is not None)
        return squared(network, batch)

    for taught in (False, True):
        OwnFunctions(training_step=look).try_step(space.smallest, RECIPE, taught=taught)
    assert seen == [False, True]


def test_a_step_is_known_by_the_name_of_its_function() -> None:
    assert (name_step(squared), name_step(recipe_step), name_step(None)) == ("squared", None, None)
    for nameless in (lambda network, batch: plain(network, batch), nn.CrossEntropyLoss(), 3):
        with pytest.raises(RequestError, match=r"^training_step must be a function with a name"):
            name_step(nameless)  # type: ignore[arg-type]
    OwnFunctions(training_step=squared).require_step("squared")
    with pytest.raises(RequestError, match=r"^the study trains by step 'squared', a function of a Python"):
        OwnFunctions().require_step("squared")


def test_checkpoints_belong_to_a_step(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    settings = replace(settings, recipe=replace(RECIPE, epochs=1))
    task = SupernetTask(space, settings, data, tmp_path / "checkpoint", training_step=squared)
    losses: list[float] = []
    train_rank(task, CPU, lambda latest: losses.append(latest.loss))
    assert 0 < losses[0] < 0.9  # a third for logits of 0, whose cross-entropy is log(3)
    for other in (doubled, recipe_step):
        with pytest.raises(CheckpointError, match="belongs to another network, teacher or recipe"):
            train_rank(replace(task, training_step=other), CPU, lambda latest: None)


def test_results_say_by_which_step_they_were_trained(space: Space, data: Data, tmp_path: Path) -> None:
    job = RetrainingJob(Design(space.smallest), "scratch", tmp_path, replace(RECIPE, epochs=1), data.digest)
    own = replace(job, training_step="sevens")
    assert "training_step" not in job.made_from and own.identity != job.identity
    payload = {"data": data, "inherited": {}, "training_step": sevens}
    train_one(own, payload, CPU, lambda result: None)
    assert own.is_finished and not job.is_finished
    assert not replace(own, training_step="doubled").is_finished
    history = (tmp_path / "history.csv").read_text().splitlines()
    row = dict(zip(history[0].split(","), history[1].split(","), strict=True))
    assert float(next(value for name, value in row.items() if "loss" in name)) == 7
