"""What a training step computes, against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.data.dataset import Data
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.supernet_checkpoint import read_supernet
from nas.training.supernet_step import supernet_step
from search_spaces.space import Space
from supernet.sampling import policy
from supernet.supernet import Supernet
from tests.helpers.training import CPU, RECIPE, new_training, train_on


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    """Cross-entropy of ``1 - smoothing`` on the label and ``smoothing`` evenly on all classes, label included."""
    losses = []
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        log_p = log_softmax(row)
        losses.append(-(1 - smoothing) * log_p[label] - smoothing * sum(log_p) / len(log_p))
    return sum(losses) / len(losses)


def distilled_loss(logits: Tensor, teacher: Tensor) -> float:
    """Cross-entropy of the logits to the teacher's probabilities."""
    losses = []
    for row, target in zip(logits.double().tolist(), teacher.double().tolist(), strict=True):
        p = [math.exp(value) for value in log_softmax(target)]
        losses.append(-sum(a * b for a, b in zip(p, log_softmax(row), strict=True)))
    return sum(losses) / len(losses)


@pytest.fixture
def supernet(space: Space) -> Supernet:
    torch.manual_seed(0)
    network = Supernet(space)
    with torch.no_grad():  # a head that is sure of itself, or a teacher would teach nothing
        network.ends.head.weight.mul_(4)
    return network.train()


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_labels_are_smoothed_as_the_recipe_says(
    smoothing: float, supernet: Supernet, settings: Settings
) -> None:
    settings = replace(settings, recipe=replace(RECIPE, label_smoothing=smoothing))
    images, labels = batch()
    (path,) = policy("uniform")(supernet.space, settings.seed, 5)
    expected = smoothed_loss(supernet(images, path.architecture), labels, smoothing)
    loss = float(supernet_step(supernet, settings, CPU)(5, images, labels))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_largest_path_teaches_the_others(supernet: Supernet, settings: Settings) -> None:
    """Sandwich: the largest learns from smoothed labels, three others from what it answers (arXiv 1903.05134)."""
    settings = replace(settings, policy="sandwich")
    images, labels = batch()
    largest, *students = policy("sandwich")(supernet.space, settings.seed, 2)
    assert largest.architecture == supernet.space.largest and len(students) == 3
    teacher = supernet(images, largest.architecture)
    losses = [smoothed_loss(teacher, labels, RECIPE.label_smoothing)]
    losses += [distilled_loss(supernet(images, each.architecture), teacher) for each in students]
    from_labels = [
        smoothed_loss(supernet(images, each.architecture), labels, RECIPE.label_smoothing)
        for each in students
    ]
    assert abs(sum(losses[1:]) - sum(from_labels)) > 0.05  # the two would be told apart
    loss = float(supernet_step(supernet, settings, CPU)(2, images, labels))
    assert loss == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_gradients_are_of_the_mean_over_shards(supernet: Supernet, settings: Settings) -> None:
    """The head's bias by hand: its gradient is softmax minus target, averaged over images."""
    settings = replace(settings, recipe=replace(RECIPE, label_smoothing=0.0, shards=2))
    images, labels = batch(8)
    (path,) = policy("uniform")(supernet.space, settings.seed, 0)
    targets, parts = torch.eye(3, dtype=torch.double)[labels], []
    for shard in range(2):  # BatchNorm sees a shard at a time
        logits = supernet(images[shard::2], path.architecture).double()
        parts.append((logits.softmax(1) - targets[shard::2]).sum(0))
    expected = (parts[0] + parts[1]) / 8
    supernet.zero_grad(set_to_none=True)
    supernet_step(supernet, settings, CPU, shards=2, all_shards=2)(0, images, labels)
    gradient = supernet.ends.head.bias.grad
    assert gradient is not None
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_to_the_recipes_norm(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, recipe=replace(RECIPE, clip_grad=0.01))
    training = new_training(space, settings, data, tmp_path / "c")
    norms: list[float] = []
    step = training.optimizer.step

    def measured_step(*arguments: object, **named: object) -> object:
        gradients = [p.grad.double().flatten() for p in training.parameters if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return step(*arguments, **named)  # type: ignore[arg-type]

    training.optimizer.step = measured_step  # type: ignore[method-assign,assignment]
    train_on(training, settings, data, until=3)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


def test_a_norm_of_zero_is_no_limit(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    weights = []
    for number, clip_grad in enumerate((0.0, 1e9)):
        limited = replace(settings, recipe=replace(RECIPE, clip_grad=clip_grad))
        training = new_training(space, limited, data, tmp_path / str(number))
        train_on(training, limited, data, until=3)
        weights.append(training.model.state_dict()["ends.head.weight"])
    assert torch.equal(*weights)


def rates_of(recipe: Recipe, space: Space, settings: Settings, data: Data, checkpoint: Path) -> list[float]:
    """Return the rate at every step of a training of three epochs with four steps each."""
    settings = replace(settings, recipe=recipe)
    training = new_training(space, settings, data, checkpoint)
    rates: list[float] = []
    step = training.optimizer.step

    def noting_step(*arguments: object, **named: object) -> object:
        rates.append(training.optimizer.param_groups[0]["lr"])
        return step(*arguments, **named)  # type: ignore[arg-type]

    training.optimizer.step = noting_step  # type: ignore[method-assign,assignment]
    train_on(training, settings, data)
    return rates


def test_rates_are_those_of_the_schedule(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    """Two of three epochs of warm-up at 4 steps each: from a hundredth linearly to the peak, then a cosine."""
    recipe = replace(RECIPE, warmup=0.34, lr=1e-2)
    low, peak = 1e-4, 1e-2
    warm_up = [low + (peak - low) * step / 8 for step in range(8)]
    cosine = [low + (peak - low) * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(8, 12)]
    rates = rates_of(recipe, space, settings, data, tmp_path / "c")
    assert rates == pytest.approx(warm_up + cosine, rel=1e-6)


def test_warm_up_and_ends_of_the_rate_are_the_recipes(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    """One epoch of 4 steps from 1e-6 to 1e-2, then a cosine over all 12 steps down to 1e-5."""
    recipe = replace(RECIPE, lr=1e-2, warmup_epochs=1, warmup_lr=1e-6, min_lr=1e-5)
    warm_up = [1e-6 + (1e-2 - 1e-6) * step / 4 for step in range(4)]
    cosine = [1e-5 + (1e-2 - 1e-5) * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(4, 12)]
    rates = rates_of(recipe, space, settings, data, tmp_path / "c")
    assert rates == pytest.approx(warm_up + cosine, rel=1e-6)


def test_norms_biases_and_tables_do_not_decay(space: Space, tmp_path: Path) -> None:
    training = Training(Supernet(space), RECIPE, 1, tmp_path / "c", "it")
    names = {id(parameter): name for name, parameter in training.model.named_parameters()}
    decayed = {
        names[id(parameter)]
        for group in training.optimizer.param_groups
        if group["weight_decay"]
        for parameter in group["params"]
    }
    rates = {group["weight_decay"] for group in training.optimizer.param_groups}
    assert rates == {0.0, RECIPE.weight_decay}
    modules = dict(training.model.named_modules())
    for name, _ in training.model.named_parameters():
        owner, _, kind = name.rpartition(".")
        is_matrix = isinstance(modules[owner], nn.Linear | nn.Conv2d) and kind == "weight"
        if is_matrix:
            assert name in decayed, name
        elif isinstance(modules[owner], nn.LayerNorm | nn.BatchNorm2d | nn.BatchNorm1d) or kind == "bias":
            assert name not in decayed, name
    assert any("norm" in name for name in names.values())


def test_what_is_returned_is_the_average(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    """By hand over all steps: ``a <- d a + (1 - d) w`` with a decay that rises to the recipe's."""
    training = new_training(space, settings, data, tmp_path / "c")
    name = "ends.head.weight"  # every path uses it
    average = training.model.state_dict()[name].double().clone()
    weights: list[Tensor] = []
    step = training.optimizer.step

    def keeping_step(*arguments: object, **named: object) -> object:
        result = step(*arguments, **named)  # type: ignore[arg-type]
        weights.append(training.model.state_dict()[name].double().clone())
        return result

    training.optimizer.step = keeping_step  # type: ignore[method-assign,assignment]
    train_on(training, settings, data)
    for number, weight in enumerate(weights):
        decay = min(RECIPE.ema_decay, 1 - (1 + number) ** (-2 / 3))
        average = decay * average + (1 - decay) * weight
    returned = training.averaged_network.state_dict()[name]
    torch.testing.assert_close(returned.double(), average, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights[-1], average, atol=1e-3)
    read = read_supernet(space, settings.sharing, training.checkpoint).state_dict()[name]
    assert torch.equal(read, returned)
