"""What a worker holds: the supernet once, and the images that candidates are scored on."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import Pool
from nas.data.splits import Data, Split
from nas.evaluation.accuracy import evaluation_batch
from nas.evaluation.prefix_cache import GROUP, PrefixCacheEvaluator, in_order
from nas.runtime.device import compute_dtype
from nas.search.racing import LOOKS, stop_thresholds
from search_spaces.architecture import Architecture
from supernet.blueprint import call
from supernet.steps import steps
from supernet.subnet import build_on_meta
from supernet.supernet import Supernet

CALIBRATION_IMAGES = 256
KEPT_BYTES = 2**31  # most activations kept by a worker on the CPU
_ROOT = 3  # steps that have one worker as their home: the stem and both halves of a block


def payload(
    supernet: Supernet, data: Data, validation_images: int, seed: int, racing: float | None = None
) -> dict[str, Any]:
    """Return what workers need, as arrays that a node stores once for all of them.

    Args:
        supernet: Trained weights.
        data: The images; validation and, for BatchNorm statistics, some training images are taken.
        validation_images: Most validation images to score on.
        seed: Chooses them.
        racing: Largest probability of stopping a design wrongly; None stops none.
    """
    batch = evaluation_batch(supernet.space.image_size)
    count = min(validation_images, len(data.val))
    # A design can be stopped between batches, so racing cuts them small enough for its looks.
    cut = batch if racing is None else min(batch, -(-count // LOOKS))
    validation = list(_take(data.val, count, cut, seed))
    # Statistics are averaged over batches, each counting alike: so these are as even as they can be.
    images = min(CALIBRATION_IMAGES, len(data.train))
    even = -(-images // -(-images // batch))
    calibration = [images for images, _ in _take(data.train, images, even, seed)]
    return content(supernet, validation, calibration, racing)


def content(
    supernet: Supernet,
    validation: Sequence[tuple[Tensor, Tensor]],
    calibration: Sequence[Tensor],
    racing: float | None = None,
) -> dict[str, Any]:
    """Return what workers need, as ``payload`` does, for batches of images that are at hand."""
    return {
        "space": supernet.space,
        "sharing": supernet.sharing,
        "weights": {name: value.detach().cpu().numpy() for name, value in supernet.state_dict().items()},
        "validation": [(images.numpy(), labels.numpy()) for images, labels in validation],
        "calibration": [images.numpy() for images in calibration],
        "racing": racing,
    }


def _take(split: Split, count: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of ``count`` images in an order that the seed alone decides."""
    for images, labels in split.batches(batch, shuffle_seed=seed):
        yield images[:count], labels[:count]
        count -= len(images)
        if count <= 0:
            return


class EvaluationWorker:
    """A worker's object."""

    def __init__(self, content: dict[str, Any], device: str) -> None:
        supernet: Supernet = build_on_meta(call(Supernet, content["space"], content["sharing"]))
        weights = {name: _tensor(value).to(device) for name, value in content["weights"].items()}
        supernet.load_state_dict(weights, assign=True)
        dtype = compute_dtype(torch.device(device))
        validation = [(_tensor(x).to(device, dtype), _tensor(y).to(device)) for x, y in content["validation"]]
        calibration = [_tensor(x).to(device, dtype) for x in content["calibration"]]
        self.evaluator = PrefixCacheEvaluator(supernet, validation, calibration, kept_bytes(device))
        self.racing: float | None = content["racing"]
        self.sizes = [len(labels) for _, labels in validation]

    def score(self, group: list[tuple[dict[str, object], float]]) -> list[dict[str, float]]:
        """Return the scores of the architectures with these JSONs, each raced against its bar."""
        designs = [Architecture.from_json(design) for design, _ in group]
        if self.racing is None:
            return self.evaluator.score(designs)
        return self.evaluator.score(
            designs, [stop_thresholds(self.sizes, bar, self.racing) for _, bar in group]
        )


def hold(content: dict[str, Any], device: str) -> EvaluationWorker:
    """Make a worker's object."""
    return EvaluationWorker(content, device)


class Population:
    """Evaluates designs on a pool of workers.

    Designs that begin alike go to the same worker, a few at once, where what they share is computed once.

    Args:
        plan: The workers.
        content: What ``payload`` returned.
    """

    def __init__(self, plan: WorkerAllocation, content: dict[str, Any]) -> None:
        self.pool = Pool(plan, hold, content)

    def __call__(
        self, designs: list[Architecture], required_top1: list[float]
    ) -> Iterator[dict[int, dict[str, float]]]:
        """Yield ``{index: scores}`` of the designs that are done together."""
        groups = grouped(designs, self.pool.allocation.workers)
        items = [
            [(designs[place].to_json(), required_top1[place]) for place in places] for _, places in groups
        ]
        for done in self.pool.map("score", items, [home for home, _ in groups]):
            yield dict(zip(groups[done.index][1], done.value, strict=True))

    def close(self) -> None:
        """Let the workers go."""
        self.pool.close()


def grouped(designs: list[Architecture], workers: int) -> list[tuple[int, list[int]]]:
    """Return ``(home, places)``: which worker had better evaluate which designs together.

    The home is that of the design's stem and first block, the same in every generation.
    """
    preferred_workers: dict[int, list[int]] = {}
    for place in in_order(designs):
        beginning = " ".join(map(str, steps(designs[place])[:_ROOT]))
        preferred_workers.setdefault(zlib.crc32(beginning.encode()) % workers, []).append(place)
    # Small groups keep workers busy to the end of a generation, and lose little to a kill.
    size = max(1, min(GROUP, len(designs) // (2 * workers)))
    return [
        (home, places[first : first + size])
        for home, places in sorted(preferred_workers.items())
        for first in range(0, len(places), size)
    ]


def kept_bytes(device: str) -> int:
    """Return how many bytes of activations a worker keeps."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] // 2
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(KEPT_BYTES, free // (4 * (os.cpu_count() or 1)))


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        # Ray maps arrays read-only; nothing here writes to weights or images.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
