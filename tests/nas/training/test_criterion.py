"""Mixed images and their targets, against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.criterion import Criterion
from nas.training.sharded_step import seed_shard
from nas.training.supernet_step import supernet_step
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.training import CPU

MIXUP = Recipe(mixup=0.8, label_smoothing=0.0)
CUTMIX = Recipe(cutmix=1.0, label_smoothing=0.0)
BOTH = Recipe(mixup=0.8, cutmix=1.0, label_smoothing=0.0)
CLASSES = 4


def plain_images(count: int = 4) -> tuple[Tensor, Tensor]:
    """Images that are their number everywhere, and labels that are it too."""
    numbers = torch.arange(count)
    return numbers.float()[:, None, None, None].expand(count, 3, 16, 20).contiguous(), numbers % CLASSES


def prepare(recipe: Recipe, step: int = 0, shard: int = 0, count: int = 4) -> tuple[Tensor, Tensor]:
    return Criterion(recipe, CLASSES).prepare(step, shard, *plain_images(count))


def mixing_share(targets: Tensor) -> float:
    """Lambda, as the target of class 0 says it without smoothing."""
    return float(targets[0, 0])


def test_without_mixing_images_and_labels_are_as_they_were() -> None:
    images, labels = plain_images()
    given = Criterion(Recipe(), CLASSES).prepare(0, 0, images, labels)
    assert given[0] is images and given[1] is labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixup_adds_images_and_targets_in_one_proportion(smoothing: float) -> None:
    images, targets = prepare(replace(MIXUP, label_smoothing=smoothing), step=3)
    share = float(3 - images[0, 0, 0, 0]) / 3  # lambda * 0 + (1 - lambda) * 3
    assert 0.05 < share < 0.95
    expected_images = [share * number + (1 - share) * (3 - number) for number in range(4)]
    assert images[:, 1, 2, 3].tolist() == pytest.approx(expected_images, abs=1e-6)
    for number in range(4):
        row = [smoothing / 4] * 4
        row[number] += (1 - smoothing) * share
        row[3 - number] += (1 - smoothing) * (1 - share)
        assert targets[number].tolist() == pytest.approx(row, abs=1e-6)
        assert sum(row) == pytest.approx(1)


def test_the_share_of_mixup_has_the_spread_of_its_beta_distribution() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)): 0.0962 at a = 0.8."""
    shares = [mixing_share(prepare(MIXUP, step)[1]) for step in range(600)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * 2.6), abs=0.012)


def test_cutmix_takes_a_box_whose_area_is_the_others_share_of_the_target() -> None:
    cut = 0
    for step in range(30):
        images, targets = prepare(CUTMIX, step)
        foreign = images[0, 0] == 3
        assert torch.equal(foreign, images[3, 0] == 0)
        area = foreign.float().mean().item()
        assert targets[0].tolist() == pytest.approx([1 - area, 0, 0, area], abs=1e-6)
        assert targets[1].tolist() == pytest.approx([0, 1 - area, area, 0], abs=1e-6)
        rows, columns = foreign.any(1), foreign.any(0)
        assert int(foreign.sum()) == int(rows.sum()) * int(columns.sum())  # a rectangle
        cut += 0 < area < 1
    assert cut > 20


def test_probabilities_of_mixing_and_of_cutmix_are_the_recipes() -> None:
    recipe = replace(BOTH, mixup_prob=0.4, mixup_switch_prob=0.25)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for step in range(1000):
        images, targets = prepare(recipe, step)
        if torch.equal(images, plain_images()[0]):
            kinds["none"] += 1
            assert torch.equal(targets, torch.eye(4))
        else:
            kinds["cutmix" if set(images[0].unique().tolist()) <= {0.0, 3.0} else "mixup"] += 1
    # By the binomial distribution, three standard deviations; boxes outside the image are none.
    assert kinds["none"] == pytest.approx(600, abs=60)
    assert kinds["cutmix"] == pytest.approx(100, abs=35)


def test_mixing_is_a_function_of_seed_step_and_shard_alone() -> None:
    wanted = mixing_share(prepare(MIXUP, 5, 1)[1])
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    assert mixing_share(prepare(MIXUP, 5, 1)[1]) == wanted
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]
    np.random.rand(7)
    assert mixing_share(prepare(MIXUP, 5, 1)[1]) == wanted
    others = [
        prepare(MIXUP, 6, 1),
        prepare(MIXUP, 5, 0),
        prepare(MIXUP, 1, 5),
        prepare(replace(MIXUP, seed=1), 5, 1),
    ]
    assert wanted not in [mixing_share(targets) for _, targets in others]


def test_the_images_given_stay_as_they_are() -> None:
    images, labels = plain_images()
    mixed, _ = Criterion(MIXUP, CLASSES).prepare(3, 0, images, labels)
    assert torch.equal(images, plain_images()[0]) and not torch.equal(mixed, images)


@pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, replace(BOTH, label_smoothing=0.2)])
@pytest.mark.parametrize("count", [1, 5])
def test_the_odd_image_stays_by_itself(recipe: Recipe, count: int) -> None:
    images, targets = prepare(recipe, 3, count=count)
    assert images.shape == (count, 3, 16, 20) and targets.shape == (count, 4)
    assert targets.sum(1).tolist() == pytest.approx([1] * count)
    last = torch.full((4,), recipe.label_smoothing / 4)
    last[(count - 1) % 4] += 1 - recipe.label_smoothing
    torch.testing.assert_close(targets[-1], last)
    assert torch.equal(images[-1], plain_images(count)[0][-1])


def test_the_loss_of_probabilities_is_their_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    targets = torch.tensor([[0.7, 0.0, 0.0, 0.3], [0.1, 0.2, 0.3, 0.4]])
    total = math.log(math.exp(2) + 1 + math.exp(-1) + math.exp(0.5))
    by_hand = (0.7 * (total - 2) + 0.3 * (total - 0.5) + math.log(4)) / 2
    assert float(Criterion(BOTH, 4).loss(logits, targets)) == pytest.approx(by_hand, rel=1e-6)


def test_unmixed_images_have_the_loss_that_they_have_without_mixing() -> None:
    """The smoothing is in the targets once, be they labels or probabilities."""
    smoothed = Recipe(label_smoothing=0.3)
    never = Criterion(replace(smoothed, mixup=0.8, mixup_prob=0.0), CLASSES)
    images, labels = plain_images()
    logits = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0))
    expected = Criterion(smoothed, CLASSES).loss(logits, labels)
    torch.testing.assert_close(never.loss(logits, never.prepare(0, 0, images, labels)[1]), expected)


def test_two_workers_mix_and_drop_as_one_does(space: Space) -> None:
    """A worker that runs both shards and two workers with one each leave the same gradients, to the bit."""
    settings = Settings(recipe=replace(BOTH, label_smoothing=0.1, batch_size=8, shards=2, drop_path=0.5))
    torch.manual_seed(0)
    supernet = Supernet(space).train()
    images, labels = (
        torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        torch.arange(8) % 3,
    )

    def gradients(shards: int, rank: int, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        supernet.zero_grad(set_to_none=True)
        supernet_step(supernet, settings, CPU, shards, 2, rank)(2, images, labels)
        return {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}

    together = gradients(2, 0, images, labels)
    first, second = (gradients(1, rank, images[rank::2], labels[rank::2]) for rank in range(2))
    assert together.keys() == first.keys()
    assert all(torch.equal(together[name], first[name] + second[name]) for name in together)
    unmixed = replace(settings, recipe=replace(settings.recipe, mixup=0.0, cutmix=0.0))
    supernet.zero_grad(set_to_none=True)
    supernet_step(supernet, unmixed, CPU, 2, 2)(2, images, labels)
    assert not torch.equal(supernet.ends.head.bias.grad, together["ends.head.bias"])  # type: ignore[arg-type]


def test_what_is_random_differs_between_the_shards_of_a_step_and_is_the_same_again() -> None:
    """torch's generator on CPUs looks at the lower 32 bits of a seed only."""

    def draw(seed: int, step: int, shard: int) -> tuple[float, ...]:
        seed_shard(seed, step, shard)
        return tuple(torch.rand(3).tolist())

    places = [(seed, step, shard) for seed in (0, 1) for step in range(3) for shard in range(8)]
    drawn = [draw(*place) for place in places]
    assert len(set(drawn)) == len(places)
    assert drawn == [draw(*place) for place in places]
    torch.manual_seed(1_000_003 + 2)
    whole_batch = tuple(torch.rand(3).tolist())
    assert draw(1, 2, 0) == whole_batch
