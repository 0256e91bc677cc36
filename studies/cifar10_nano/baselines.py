"""Plain baselines outside the space: a small residual network, and a support-vector machine on pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import BasicBlock

from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.dataset import Data, load_data
from nas.data.splits import Split
from nas.evaluation.accuracy import accuracy, evaluation_batch_size
from nas.runtime.files import write_json
from nas.runtime.stopwatch import Stopwatch
from nas.study.recipe import Recipe
from nas.training.augmentation import recipe_augmentation
from nas.training.loop import Training
from nas.training.subnet_step import subnet_step

#: Penalties of the support-vector machine, of which the validation images choose.
PENALTIES = (1.0, 10.0, 100.0)


class ResidualNetwork(nn.Module):
    """ResNet for small images (He et al., arXiv 1512.03385, section 4.2), one basic block a stage.

    Args:
        widths: Channels of the stages; each but the first halves the map.
        in_channels: Channels of the images.
        num_classes: Outputs.
    """

    def __init__(self, widths: tuple[int, ...], in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before, blocks = widths[0], []
        for number, width in enumerate(widths):
            shortcut = None
            if number:
                shortcut = nn.Sequential(nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width))
            blocks.append(BasicBlock(before, width, 2 if number else 1, shortcut))
            before = width
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of images ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


def count_macs(network: nn.Module, in_channels: int, side: int) -> int:
    """Return the multiply-accumulates of one image, as torch counts them."""
    network.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, in_channels, side, side))
    return int(counter.get_total_flops()) // 2


def residual_widths(macs: float, in_channels: int, side: int, num_classes: int) -> tuple[int, ...]:
    """Return the widths w, 2w and 4w, rounded, whose network is nearest to so many MACs without exceeding them."""
    factor = 1.0
    fitting: tuple[int, ...] = (1, 2, 4)
    while True:
        widths = tuple(round(factor * times) for times in (1, 2, 4))
        if count_macs(ResidualNetwork(widths, in_channels, num_classes), in_channels, side) > macs:
            return fitting
        fitting, factor = widths, factor + 0.125


def train_residual(
    widths: tuple[int, ...], recipe: Recipe, data: Data, device: torch.device, scratch: Path
) -> dict[str, Any]:
    """Train a residual network as a design is trained alone, and return its accuracies in percent and its seconds.

    It goes on where it stopped; what an earlier call has finished is read.
    """
    name = f"residual-{'-'.join(map(str, widths))}-seed{recipe.seed}-{recipe.epochs}epochs"
    stored = scratch / f"{name}.json"
    if not stored.exists():
        torch.manual_seed(recipe.seed)
        network = ResidualNetwork(widths, data.in_channels, len(data.class_names)).to(device)
        shards = usable_shards(len(data.train), recipe.shards)
        sizes = batch_sizes(len(data.train), recipe.batch_size, SHARD_IMAGES * shards)
        training = Training(
            network, recipe, len(sizes), scratch / f"{name}.safetensors", f"{name}/{data.digest}"
        )
        augmentation = recipe_augmentation(recipe, data)

        def epoch_batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
            return data.train.batches(
                recipe.batch_size,
                device=device,
                shuffle_seed=recipe.seed,
                epoch=epoch,
                augment=augmentation,
                least=SHARD_IMAGES * shards,
                start=first,
            )

        run_step = subnet_step(network, recipe, device, shards, shards)  # type: ignore[arg-type]
        seconds = Stopwatch(device, "wall").measure(lambda: training.run(run_step, epoch_batches))
        batch = evaluation_batch_size((data.image_size, data.image_size))
        splits = {"val_top1": data.val, "test_top1": data.final_test()}
        scores = {
            score: accuracy(training.averaged_network, split.batches(batch, device=device))["top1"]
            for score, split in splits.items()
        }
        write_json(stored, {"seed": recipe.seed, **scores, "seconds": seconds})
        training.checkpoint.unlink(missing_ok=True)
    found: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    return found


def classify_pixels(data: Data, stored: Path) -> dict[str, float]:
    """Return the accuracies in percent of an RBF support-vector machine on normalised pixels; read if it was done."""
    if not stored.exists():
        from sklearn.svm import SVC

        train, val, test = map(_read_pixels, (data.train, data.val, data.final_test()))
        machines = {penalty: SVC(C=penalty).fit(*train) for penalty in PENALTIES}
        best = max(machines, key=lambda penalty: machines[penalty].score(*val))
        scores = {
            "val_top1": 100 * machines[best].score(*val),
            "test_top1": 100 * machines[best].score(*test),
        }
        write_json(stored, {**scores, "penalty": best, "test_images": len(test[1])})
    found: dict[str, float] = json.loads(stored.read_text(encoding="utf-8"))
    return found


def _read_pixels(split: Split) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images, labels = zip(*split.batches(500), strict=True)
    return torch.cat(images).flatten(1).numpy(), torch.cat(labels).numpy()


def classify_mnist5k(scratch: Path) -> dict[str, float]:
    """Return the accuracies of the same machine on mnist5k, which shows how much that set can still tell."""
    return classify_pixels(load_data("mnist5k"), scratch / "svm-mnist5k.json")
