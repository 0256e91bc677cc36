"""On a real GPU: the same numbers as on the CPU, no waiting in a step, bits that repeat. ``make gpu`` runs them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from nas.data.augment import Augmentation, BatchRandomness
from nas.evaluation.accuracy import Evaluator
from nas.evaluation.prefix_cache import PrefixCacheEvaluator
from nas.latency import timing
from nas.latency.measure import measure_table, usual_conditions
from nas.runtime.device import autocast, compute_dtype
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.supernet_step import supernet_step
from supernet.subnet import initialise
from supernet.supernet import Supernet
from tests.fake_gpu.examples import small_space, split_of
from tests.helpers.modules import randomised
from tests.helpers.named_spaces import SCALES, showing_everything, space_of

pytestmark = pytest.mark.gpu

RECIPE = Recipe(epochs=2, batch_size=8, shards=2, drop_path=0.1, mixup=0.8)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Compute products and convolutions in full float32, as a CPU does."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    torch.set_float32_matmul_precision(before)


def first(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize(("name", "scale"), [pair for pair in SCALES if pair[1] == "nano"])
def test_outputs_and_gradients_are_those_of_the_cpu(name: str, scale: str, device: torch.device) -> None:
    torch.manual_seed(0)
    for part in {part.name: part for part in showing_everything(space_of(name, scale))}.values():
        module: nn.Module = randomised(part.blueprint.build()).train()
        x = torch.randn(2, *part.shape)
        twin, there = copy.deepcopy(module).to(device), x.to(device)
        with exact_float32():
            expected, found = first(module(x)), first(twin(there))
            probe = torch.randn_like(expected)
            (expected * probe).sum().backward()
            (found * probe.to(device)).sum().backward()
        scale_of = max(1.0, float(expected.detach().abs().max()))
        assert float((found.detach().cpu() - expected.detach()).abs().max()) < 1e-4 * scale_of, part.name
        for (key, one), other in zip(module.named_parameters(), twin.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None, (part.name, key)
            # A bias before a norm has no gradient but rounding: differences are measured by what flows there.
            error = float((other.grad.cpu() - one.grad).norm())
            assert error < 1e-3 * float(one.grad.norm()) + 1e-3 * scale_of, (part.name, key)


@pytest.mark.parametrize("policy", ["uniform", "fair", "sandwich"])
def test_a_step_waits_for_nothing(policy: str, device: torch.device) -> None:
    supernet = Supernet(small_space()).to(device)
    settings = replace(Settings(), policy=policy, recipe=RECIPE)
    images, labels = next(split_of(Augmentation("small")).batches(8, device=device, shuffle_seed=0))
    step = supernet_step(supernet, settings, device, 2, 2)
    step(0, images, labels)  # kernels are chosen, masks made
    with refusing_to_wait(device):
        step(0, images, labels)


@contextlib.contextmanager
def refusing_to_wait(device: torch.device) -> Iterator[None]:
    """Raise where the CPU waits for the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train(device: torch.device, checkpoint: Path, *stops: int) -> Training:
    """Train the small supernet, anew from the checkpoint after each stop."""
    settings, split = replace(Settings(), recipe=RECIPE), split_of(Augmentation("small"))
    for stop in stops:
        torch.manual_seed(0)
        training = Training(Supernet(small_space()).to(device), RECIPE, 3, checkpoint, "it")

        def batches(epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
            return split.batches(8, device=device, shuffle_seed=0, epoch=epoch, augment=True, start=start)

        training.run(supernet_step(training.model, settings, device, 2, 2), batches, until=stop)  # type: ignore[arg-type]
    return training


def test_a_resumed_training_is_near_an_uninterrupted_one(device: torch.device, tmp_path: Path) -> None:
    resumed, whole = train(device, tmp_path / "a", 2, 6), train(device, tmp_path / "b", 6)
    assert resumed.step == whole.step == 6
    for (name, one), other in zip(
        resumed.model.state_dict().items(), whole.model.state_dict().values(), strict=True
    ):
        # Sums of atomic additions on a GPU differ in their last bits.
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3, msg=name)


def test_designs_score_alike_alone_and_together(device: torch.device) -> None:
    space, split = small_space(), split_of(Augmentation("small"))
    torch.manual_seed(0)
    supernet = Supernet(space).to(device).eval()
    designs = [space.largest, space.sample(Random(1)), space.smallest]
    batches = list(split.batches(12, device=device, dtype=compute_dtype(device)))
    calibration = [images for images, _ in batches]
    alone = [Evaluator(supernet, batches, calibration).score(design) for design in designs]
    together = PrefixCacheEvaluator(supernet, batches, calibration, 2**24).score(designs)
    for one, other in zip(alone, together, strict=True):
        assert one["images"] == other["images"] == 24
        assert abs(one["loss"] - other["loss"]) < 1e-2


def test_images_are_varied_as_on_the_cpu(device: torch.device) -> None:
    kind = Augmentation("small", rand_augment="rand-m9-mstd0.5-inc1", random_erasing=0.5)
    images = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seeds = tuple(range(32))
    randomness = BatchRandomness(seeds, kind.sample_parameters(32, torch.Generator().manual_seed(1)))
    here, there = (
        kind.erase(kind.apply(each, randomness), seeds) for each in (images.clone(), images.to(device))
    )
    # Rounding tips a few pixels over a threshold of posterize or solarize.
    assert float(((here - there.cpu()).abs() > 2 / 255).float().mean()) < 0.01


def test_mixed_precision_stays_near_float32(device: torch.device) -> None:
    space = small_space()
    supernet = Supernet(space)
    initialise(supernet)
    supernet.to(device).eval()
    images = torch.randn(4, 3, 16, 16, device=device)
    with torch.no_grad():
        exact = supernet(images, space.largest)
        with autocast(device):
            rounded = supernet(images, space.largest).float()
    assert float((rounded - exact).norm()) < 0.05 * float(exact.norm()) + 1e-3


def test_latencies_are_measured(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_ROUNDS", 3)
    table = measure_table(small_space(), device, *usual_conditions(device))
    assert all(0 < entry < 1000 for entry in table.entries.values())
    assert table.latency_ms(small_space().largest) > 0
