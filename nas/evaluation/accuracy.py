"""Scores of a network on images: accuracy with recalibrated BatchNorm statistics, and throughput."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.runtime.device import autocast
from nas.runtime.stopwatch import Stopwatch
from search_spaces.architecture import Architecture
from supernet.resizing import AtImageSize
from supernet.steps import BATCH_NORMS
from supernet.supernet import Supernet

Batch = tuple[Tensor, Tensor]


class AccuracyMeter:
    """Counts over batches of logits: images, hits among the first one and five classes, summed cross-entropy.

    Which images were right is kept too, so that networks can be compared image by image.
    """

    def __init__(self) -> None:
        self.num_images, self.num_top1, self.num_top5, self.total_loss = 0, 0, 0, 0.0
        self._right: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch of logits ``(B, classes)``."""
        logits = logits.float()
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        right = hits[:, 0].cpu()
        self._right.append(right)
        self.num_top1 += int(right.sum())
        self.num_top5 += int(hits.any(dim=1).sum())
        self.total_loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        self.num_images += len(labels)

    def scores(self) -> dict[str, float]:
        """Return ``top1`` and ``top5`` in percent, mean cross-entropy ``loss``, ``images`` and the bits ``correct``."""
        if not self.num_images:
            raise ValueError("there are no images to evaluate on")
        return {
            "top1": 100 * self.num_top1 / self.num_images,
            "top5": 100 * self.num_top5 / self.num_images,
            "loss": self.total_loss / self.num_images,
            "images": self.num_images,
            "correct": pack_bits(torch.cat(self._right)),
        }


def pack_bits(right: Tensor) -> int:
    """Return flags as the bits of a number, the first of them in the highest bit."""
    packed = np.packbits(right.numpy()).tobytes()
    return int.from_bytes(packed, "big") >> (-len(right) % 8)


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the scores of a network, as `AccuracyMeter.scores` does.

    Args:
        network: Maps images ``(B, C, H, W)`` to logits ``(B, classes)``.
        batches: Images and labels on the network's device.
    """
    network.eval()
    meter = AccuracyMeter()
    for images, labels in batches:
        with autocast(images.device):
            logits = network(images)
        meter.add(logits, labels)
    return meter.scores()


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the BatchNorm statistics of a network by those of ``batches``.

    A supernet's statistics are averages over all paths and fit none of them, as OFA (arXiv 1908.09791) and
    SPOS (arXiv 1904.00420) found. A network without BatchNorm stays as it is.

    Args:
        network: The network, which shares its statistics with no other.
        batches: Training images ``(B, C, H, W)``, not augmented.
    """
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    if not norms:
        return
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for images in batches:
        with autocast(images.device):
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def evaluation_batch_size(image_size: tuple[int, int]) -> int:
    """Return how many images are evaluated at once: 250 small ones, about 60 of 224 px."""
    height, width = image_size
    return max(16, min(250, 3_000_000 // (height * width)))


class Evaluator:
    """Scores paths of one supernet, each on its own.

    Args:
        supernet: The trained supernet, on its device.
        validation: Batches of validation images and labels, kept on the device.
        calibration: Batches of training images for BatchNorm statistics, kept on the device.
    """

    def __init__(self, supernet: Supernet, validation: list[Batch], calibration: list[Tensor]) -> None:
        self.supernet, self.validation, self.calibration = supernet, validation, calibration

    def score(self, architecture: Architecture) -> dict[str, float]:
        """Return the scores of a path, as `AccuracyMeter.scores` does, and the ``seconds`` it took.

        The path is extracted, so that its recalibrated statistics are its own.
        """
        started = time.perf_counter()
        network = AtImageSize(self.supernet.extract(architecture), architecture.image_size)
        recalibrate(network, self.calibration)
        scores = accuracy(network, self.validation)
        return {**scores, "seconds": time.perf_counter() - started}


def throughput(network: nn.Module, images: Tensor, seconds: float = 1.0) -> float:
    """Return images/s of inference on ``images``, the median of repeated batches."""
    network.eval()
    stopwatch = Stopwatch(images.device, "wall")
    rates: list[float] = []
    with torch.inference_mode():
        for _ in range(2):
            network(images)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(rates) < 3:
            rates.append(len(images) / stopwatch.measure(lambda: network(images)))
    return sorted(rates)[len(rates) // 2]
