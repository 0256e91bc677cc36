"""Scores against values computed by hand: what is counted, and which BatchNorm statistics a design is scored with."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.evaluation.accuracy import AccuracyMeter, Evaluator, accuracy
from nas.evaluation.prefix_cache import PrefixCacheEvaluator
from search_spaces.declaration import load_declaration, parse_declaration
from supernet.steps import BATCH_NORMS, Flow, StepRunner, steps
from supernet.supernet import Supernet
from tests.helpers.modules import randomised
from tests.helpers.space_examples import WIDTHS

#: Logits of four images for seven classes; the labels' ranks are first, third, sixth and last.
LOGITS = torch.tensor(
    [
        [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -3.0],
    ]
)
LABELS = torch.tensor([0, 2, 5, 6])


def test_counts_are_those_of_the_ranks() -> None:
    scores = accuracy(nn.Identity(), [(LOGITS[:3], LABELS[:3]), (LOGITS[3:], LABELS[3:])])
    assert (scores["top1"], scores["top5"], scores["images"]) == (25.0, 50.0, 4)
    assert scores["correct"] == 0b1000


def test_loss_is_the_mean_cross_entropy() -> None:
    meter = AccuracyMeter()
    meter.add(LOGITS, LABELS)
    by_hand = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        by_hand += math.log(sum(math.exp(value) for value in row)) - row[label]
    assert meter.scores()["loss"] == pytest.approx(by_hand / 4, rel=1e-6)


def test_five_of_fewer_classes_are_all() -> None:
    scores = accuracy(nn.Identity(), [(LOGITS[:, :3], torch.tensor([2, 2, 2, 2]))])
    assert (scores["top1"], scores["top5"]) == (0.0, 100.0)


@torch.no_grad()
def set_statistics(network: nn.Module, batches: list[Tensor]) -> None:
    """Give every BatchNorm the means and variances of what reaches it, averaged over the batches.

    On the way each normalises a batch by the batch's own, as in training.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    norms = {name: module for name, module in network.named_modules() if isinstance(module, BATCH_NORMS)}
    hooks = []
    for name, norm in norms.items():

        def normalise(
            module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name
        ) -> Tensor | None:
            (x,) = inputs
            # Channels come second, or last in the maps of whole blocks.
            dims = (0, 2, 3) if isinstance(module, nn.BatchNorm2d) else tuple(range(x.dim() - 1))
            seen.setdefault(name, []).append((x.mean(dims), x.var(dims, unbiased=True)))
            shape = (1, -1, 1, 1) if isinstance(module, nn.BatchNorm2d) else (-1,)
            mean, var = x.mean(dims).view(shape), x.var(dims, unbiased=False).view(shape)
            scale, shift = (module.weight.view(shape), module.bias.view(shape)) if module.affine else (1, 0)
            return (x - mean) / (var + module.eps).sqrt() * scale + shift

        hooks.append(norm.register_forward_hook(normalise))
    for images in batches:
        network(images)
    for hook in hooks:
        hook.remove()
    for name, norm in norms.items():
        means, variances = zip(*seen[name], strict=True)
        norm.running_mean.copy_(torch.stack(means).mean(0))
        norm.running_var.copy_(torch.stack(variances).mean(0))


@pytest.mark.parametrize("name", ["twins_cswin", "local_vit_ablation"])
def test_designs_are_scored_with_statistics_of_training_images(name: str) -> None:
    """Both evaluators leave the supernet's own statistics aside, which here are far off."""
    torch.manual_seed(0)
    space = load_declaration(name).space("nano", 28, 1, 10)
    supernet = Supernet(space).eval()
    for module in supernet.modules():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
            module.running_mean.fill_(3.0)
    design = next(
        each
        for each in (space.sample(Random(seed)) for seed in range(50))
        if any(isinstance(module, BATCH_NORMS) for module in supernet.extract(each).modules())
    )
    images, calibration = torch.randn(12, 1, 28, 28), [torch.randn(9, 1, 28, 28), torch.randn(7, 1, 28, 28)]
    validation = [(images, torch.arange(12) % 10)]
    network = supernet.extract(design)
    uncalibrated = accuracy(network, validation)["loss"]
    set_statistics(network, calibration)
    expected = accuracy(network, validation)["loss"]
    assert abs(expected - uncalibrated) > 0.01  # else the statistics would not matter
    assert Evaluator(supernet, validation, calibration).score(design)["loss"] == pytest.approx(
        expected, rel=1e-5
    )
    (together,) = PrefixCacheEvaluator(supernet, validation, calibration, 2**20).score([design])
    assert together["loss"] == pytest.approx(expected, rel=1e-5)


def smaller(images: Tensor) -> Tensor:
    return F.interpolate(images, size=(12, 12), mode="bicubic", antialias=True)


@pytest.fixture
def two_sizes() -> Supernet:
    """A supernet of designs for images of 12 or 16 px, of which there are some of 16."""
    return randomised(Supernet(parse_declaration(WIDTHS, "widths").space("one", 16, 3, 10))).eval()


@torch.no_grad()
def test_steps_give_a_smaller_design_the_logits_of_images_made_smaller(two_sizes: Supernet) -> None:
    torch.manual_seed(0)
    images, runner = torch.randn(4, 3, 16, 16), StepRunner(two_sizes)
    for side, shown in ((12, smaller(images)), (16, images)):
        design = two_sizes.space.at_image_size((side, side)).largest
        flow: Flow = (images, None)
        for step in steps(design):
            flow = runner.run(step, flow, {})  # with the supernet's own statistics
        expected = two_sizes.extract(design)(shown)
        torch.testing.assert_close(runner.classify(flow), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(two_sizes(images, design), expected, rtol=1e-5, atol=1e-5)


def test_a_smaller_design_is_scored_on_images_made_smaller(two_sizes: Supernet) -> None:
    """Those that its BatchNorm statistics are measured on are made smaller too."""
    torch.manual_seed(0)
    images, calibration = torch.randn(12, 3, 16, 16), [torch.randn(9, 3, 16, 16), torch.randn(7, 3, 16, 16)]
    labels = torch.arange(12) % 10
    small = two_sizes.space.at_image_size((12, 12))
    design = small.assemble({**small.values(small.largest), "stage1.block1.operator": "dwconv"})
    losses = []
    for shown, measured in (
        (smaller(images), [smaller(each) for each in calibration]),
        (smaller(images), calibration),
        (images, calibration),
    ):
        network = two_sizes.extract(design)
        set_statistics(network, measured)
        losses.append(accuracy(network, [(shown, labels)])["loss"])
    expected = losses[0]
    assert min(abs(other - expected) for other in losses[1:]) > 0.001
    alone = Evaluator(two_sizes, [(images, labels)], calibration).score(design)
    (together,) = PrefixCacheEvaluator(two_sizes, [(images, labels)], calibration, 2**20).score([design])
    assert [alone["loss"], together["loss"]] == pytest.approx([expected] * 2, rel=1e-5)
