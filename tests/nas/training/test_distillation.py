"""What is learned from a teacher, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.study.recipe import Recipe
from nas.training.criterion import Criterion
from nas.training.distillation import hard_loss, soft_loss
from nas.training.mixing import Mixing

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


def mixed_cross_entropy(rows: list[list[float]], temperature: float) -> float:
    """The cross-entropy to 0.3 of an image's own row and 0.7 of the other's."""
    total = 0.0
    for number, logits in enumerate(LOGITS):
        log_q, own, other = log_softmax(logits, temperature), rows[number], rows[1 - number]
        total -= sum((0.3 * a + 0.7 * b) * q for a, b, q in zip(own, other, log_q, strict=True))
    return total / len(LOGITS)


def test_answers_about_unmixed_images_are_mixed_as_their_labels(
    tensors: tuple[Tensor, Tensor, Tensor],
) -> None:
    """By hand: the probabilities, or the first classes (1 and 2), of both images by their shares."""
    logits, _, teacher = tensors
    mixing = Mixing(0.3, 2)
    softened = [[math.exp(value) for value in log_softmax(row, 2.0)] for row in TEACHER]
    targets = [[0.3 * a + 0.7 * b for a, b in zip(softened[i], softened[1 - i], strict=True)] for i in (0, 1)]
    entropy = sum(value * math.log(value) for row in targets for value in row) / 2
    expected = 4 * (mixed_cross_entropy(softened, 2.0) + entropy)
    assert float(soft_loss(logits, teacher, 2.0, mixing)) == pytest.approx(expected, rel=1e-5)
    classes = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    expected = mixed_cross_entropy(classes, 1.0)
    assert float(hard_loss(logits, teacher, mixing)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [2, 4, 7])
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(mixup=0.8, label_smoothing=0.1),
        Recipe(cutmix=1.0, label_smoothing=0.1),
        Recipe(mixup=0.8, cutmix=1.0, mixup_prob=0.5),
    ],
    ids=["mixup", "cutmix", "either"],
)
def test_the_proportion_is_that_of_images_and_labels(recipe: Recipe, count: int) -> None:
    """Where images are mixed they are in the share found; so are labels; a last odd one has no partner."""
    criterion, images, labels = Criterion(recipe, 3), torch.rand(count, 2, 8, 8), torch.arange(count) % 3
    smoothed = F.one_hot(labels, 3) * (1 - recipe.label_smoothing) + recipe.label_smoothing / 3
    shares = set()
    for step in range(6):
        mixing = criterion.mixing(step, 1, images)
        assert mixing is not None and 0 <= mixing.share <= 1
        mixed, targets = criterion.prepare(step, 1, images, labels)
        torch.testing.assert_close(mixing.mix(smoothed), targets)
        if not recipe.cutmix:
            torch.testing.assert_close(mixing.mix(images), mixed)
        elif not recipe.mixup:  # a part of each image's pixels is its own
            own = (mixed == images)[: count // 2 * 2].float().mean()
            assert float(own) == pytest.approx(mixing.share)
        shares.add(mixing.share)
    assert len(shares) > 1


def test_images_that_are_not_mixed_have_no_proportion() -> None:
    assert Criterion(Recipe(), 3).mixing(0, 0, torch.rand(4, 3, 8, 8)) is None
