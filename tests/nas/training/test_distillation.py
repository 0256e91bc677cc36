"""What is learned from a teacher, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas.study.recipe import Recipe
from nas.training.criterion import Criterion
from nas.training.distillation import hard_loss, soft_loss

LOGITS = [[2.0, 0.5, -1.0], [0.0, 1.0, 0.0]]
TEACHER = [[1.0, 3.0, 0.0], [-2.0, 0.0, 4.0]]
LABELS = [0, 2]


def log_softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    row = [value / temperature for value in row]
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def divergence(temperature: float) -> float:
    """T^2 times KL of the teacher from the network, the mean over images."""
    total = 0.0
    for row, target in zip(LOGITS, TEACHER, strict=True):
        log_q, log_p = log_softmax(row, temperature), log_softmax(target, temperature)
        total += sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
    return temperature**2 * total / len(LOGITS)


def cross_entropy(classes: list[int], smoothing: float = 0.0) -> float:
    total = 0.0
    for row, label in zip(LOGITS, classes, strict=True):
        log_p = log_softmax(row)
        total -= (1 - smoothing) * log_p[label] + smoothing * sum(log_p) / len(log_p)
    return total / len(LOGITS)


@pytest.fixture
def tensors() -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor(LOGITS), torch.tensor(LABELS), torch.tensor(TEACHER)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_answers_are_a_divergence_at_a_temperature(
    temperature: float, tensors: tuple[Tensor, Tensor, Tensor]
) -> None:
    logits, _, teacher = tensors
    assert float(soft_loss(logits, teacher, temperature)) == pytest.approx(divergence(temperature), rel=1e-5)
    assert float(soft_loss(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_a_soft_answer_is_by_hand() -> None:
    """With T^2 it is T (softmax(z / T) - softmax(t / T)) an image (arXiv 1503.02531, eq. 2)."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    soft_loss(logits, torch.tensor(TEACHER), 2.0).backward()
    expected = [
        [2 * (math.exp(q) - math.exp(p)) / len(LOGITS) for p, q in zip(log_p, log_q, strict=True)]
        for log_p, log_q in (
            (log_softmax(t, 2.0), log_softmax(z, 2.0)) for z, t in zip(LOGITS, TEACHER, strict=True)
        )
    ]
    torch.testing.assert_close(logits.grad, torch.tensor(expected))


def test_a_hard_answer_is_the_teachers_first_class(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, _, teacher = tensors
    assert float(hard_loss(logits, teacher)) == pytest.approx(cross_entropy([1, 2]), rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_recipe_weighs_teacher_and_labels(
    kind: str, weight: float, tensors: tuple[Tensor, Tensor, Tensor]
) -> None:
    """(1 - w) of the smoothed labels and w of the teacher; DeiT's eq. 3 is hard with a half of each."""
    recipe = Recipe(distillation=kind, temperature=3.0, teacher_weight=weight, label_smoothing=0.1)
    of_teacher = divergence(3.0) if kind == "soft" else cross_entropy([1, 2])
    expected = (1 - weight) * cross_entropy(LABELS, 0.1) + weight * of_teacher
    assert float(Criterion(recipe, 3).loss(*tensors)) == pytest.approx(expected, rel=1e-5)


def test_without_a_teacher_labels_alone_count(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, labels, _ = tensors
    recipe = Recipe(teacher_weight=0.9, label_smoothing=0.1)
    assert float(Criterion(recipe, 3).loss(logits, labels)) == pytest.approx(cross_entropy(LABELS, 0.1))
