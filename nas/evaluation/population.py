"""The evaluation of a population: designs are scored by workers that each hold the supernet and the images."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import MOST_DEATHS, ItemResult, Pool
from nas.data.batching import SHARD_IMAGES
from nas.data.dataset import Data
from nas.data.splits import Split
from nas.evaluation.accuracy import Batch, evaluation_batch_size, recalibrate
from nas.evaluation.prefix_cache import GROUP_SIZE, PrefixCacheEvaluator, order_by_prefix
from nas.runtime.device import compute_dtype
from nas.search.evaluations import Failure, MoreDesigns
from nas.search.own_objectives import Measure, compute
from nas.search.racing import LOOKS, stop_thresholds
from search_spaces.architecture import Architecture
from supernet.blueprint import call
from supernet.resizing import AtImageSize
from supernet.steps import steps
from supernet.subnet import build_on_meta
from supernet.supernet import Supernet

CALIBRATION_IMAGES = 256
MAX_CPU_CACHE_BYTES = 2**31  # most activations that a worker on the CPU caches
_COMMON_STEPS = (
    3  # first steps that decide which worker a design goes to: the stem and both halves of a block
)


def payload_from_data(
    supernet: Supernet,
    data: Data,
    validation_images: int,
    seed: int,
    racing: float | None = None,
    measures: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:
    """Return what workers need, as arrays that a node stores once for all of them.

    Args:
        supernet: Trained weights.
        data: The images: those of validation, and some of training for BatchNorm statistics.
        validation_images: Most validation images to score on.
        seed: Chooses them.
        racing: Largest probability of stopping a design wrongly; None stops none.
        measures: Functions of a program's own objectives that take a network and images, by name.
    """
    looks = None if racing is None else LOOKS
    validation, calibration = validation_and_calibration(
        data, validation_images, seed, supernet.space.image_size, looks
    )
    return {**payload_from_batches(supernet, validation, calibration, racing), "measures": measures or {}}


def validation_and_calibration(
    data: Data,
    validation_images: int,
    seed: int,
    image_size: tuple[int, int] | None = None,
    looks: int | None = None,
) -> tuple[list[Batch], list[Tensor]]:
    """Return batches of validation images with labels, and of training images for BatchNorm statistics.

    Args:
        data: The images.
        validation_images: Most validation images.
        seed: Chooses them.
        image_size: Height and width that decide how many images a batch has; None for those of the images.
        looks: Batches of validation images at least; None for as few as there may be.
    """
    batch_size = evaluation_batch_size(image_size or (data.image_size, data.image_size))
    count = min(validation_images, len(data.val))
    # A design can be stopped between batches, so racing makes them small enough for its looks.
    validation_size = batch_size if looks is None else min(batch_size, -(-count // looks))
    validation = list(first_images(data.val, count, validation_size, seed))
    # Statistics are averaged over batches, each counting alike: so these are as even as they can be.
    images = min(CALIBRATION_IMAGES, len(data.train))
    calibration_size = -(-images // -(-images // batch_size))
    batches = first_images(data.train, images, calibration_size, seed)
    # A single image left over has no statistics.
    return validation, [images for images, _ in batches if len(images) >= SHARD_IMAGES]


def payload_from_batches(
    supernet: Supernet,
    validation: Sequence[Batch],
    calibration: Sequence[Tensor],
    racing: float | None = None,
) -> dict[str, Any]:
    """Return what workers need, as `payload_from_data` does, from batches of images on the CPU."""
    return {
        "space": supernet.space,
        "sharing": supernet.sharing,
        "weights": {name: value.detach().cpu().numpy() for name, value in supernet.state_dict().items()},
        "validation": [(images.numpy(), labels.numpy()) for images, labels in validation],
        "calibration": [images.numpy() for images in calibration],
        "racing": racing,
    }


def first_images(split: Split, count: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield batches of the first ``count`` images in an order that the seed alone decides."""
    for images, labels in split.batches(batch_size, shuffle_seed=seed):
        yield images[:count], labels[:count]
        count -= len(images)
        if count <= 0:
            return


class EvaluationWorker:
    """The object that a worker holds: the supernet and the images on its device, and the cached activations.

    Args:
        payload: What `payload_from_data` returned.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, payload: dict[str, Any], device: str) -> None:
        supernet: Supernet = build_on_meta(call(Supernet, payload["space"], payload["sharing"]))
        weights = {name: _to_tensor(value).to(device) for name, value in payload["weights"].items()}
        supernet.load_state_dict(weights, assign=True)
        dtype = compute_dtype(torch.device(device))
        validation = [
            (_to_tensor(images).to(device, dtype), _to_tensor(labels).to(device))
            for images, labels in payload["validation"]
        ]
        calibration = [_to_tensor(images).to(device, dtype) for images in payload["calibration"]]
        memory = activation_cache_bytes(device)
        self.evaluator = PrefixCacheEvaluator(supernet, validation, calibration, memory)
        self.racing: float | None = payload["racing"]
        self.batch_sizes = [len(labels) for _, labels in validation]
        self.measures: Mapping[str, Measure] = payload.get("measures", {})

    def score(self, group: list[tuple[dict[str, object], float]]) -> list[dict[str, float]]:
        """Return the scores of designs, given as their JSON and the ``top1`` that racing requires of them."""
        designs = [Architecture.from_json(design) for design, _ in group]
        if self.measures:  # racing stops none of these
            found = self.evaluator.score(designs)
            return [scores | self._measure(one) for one, scores in zip(designs, found, strict=True)]
        if self.racing is None:
            return self.evaluator.score(designs)
        return self.evaluator.score(
            designs, [stop_thresholds(self.batch_sizes, required, self.racing) for _, required in group]
        )

    def _measure(self, design: Architecture) -> dict[str, float]:
        """Return the scores of a program's own functions of a design's network and the validation images."""
        evaluator = self.evaluator
        network = AtImageSize(evaluator.runner.supernet.extract(design), design.image_size)
        recalibrate(network, evaluator.calibration)
        with torch.inference_mode():
            return {
                name: compute(name, function, design, network.eval(), evaluator.validation)
                for name, function in self.measures.items()
            }


class Population:
    """Evaluates designs on a pool of workers.

    Designs that begin alike go to the same worker, a few at once, where what they share is computed once.

    Args:
        allocation: The workers.
        payload: What `payload_from_data` returned.
    """

    def __init__(self, allocation: WorkerAllocation, payload: dict[str, Any]) -> None:
        self.pool = Pool(allocation, EvaluationWorker, payload)

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: MoreDesigns | None = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        """Yield ``{index: scores}`` of the designs that are done together, a failure of one that cannot be.

        Designs of a group that fails are evaluated once more, each by itself.
        """
        work = _Work(self.pool.allocation.workers)

        def find_more() -> tuple[list[_Item], list[int]]:
            again = work.take_failed()
            return again if again[0] or more is None else work.add(*more())

        items, preferred = work.add(designs, required_top1)
        for arrived in self.pool.map_together(
            "score", items, preferred, find_more, repeatable=True, most_deaths=_most_deaths
        ):
            if done := work.finish(arrived):
                yield done

    def serve(self) -> None:
        """Keep workers busy in the midst of the driver's other work; see `Pool.serve`."""
        self.pool.serve()

    def close(self) -> None:
        """End the workers."""
        self.pool.close()


#: What a worker is given: designs as JSON, each with the ``top1`` that is required of it.
_Item = list[tuple[dict[str, object], float]]


def _most_deaths(item: _Item) -> int:
    """Return how many workers a group may kill: it is given up at once, so that each design is tried by itself."""
    return 1 if len(item) > 1 else MOST_DEATHS


class _Work:
    """Designs in groups, which are the items of a pool.

    Args:
        workers: Workers of the pool.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._designs: _Item = []
        self._groups: list[tuple[int, list[int]]] = []  # preferred worker and designs of each item
        self._failed: list[tuple[int, list[int]]] = []  # designs of groups that failed, each by itself

    def add(self, designs: list[Architecture], required_top1: list[float]) -> tuple[list[_Item], list[int]]:
        """Return the items of further designs, and the preferred worker of each."""
        first = len(self._designs)
        self._designs += [
            (design.to_json(), required) for design, required in zip(designs, required_top1, strict=True)
        ]
        found = group_by_prefix(designs, self.workers)
        return self._to_items([(worker, [first + index for index in indices]) for worker, indices in found])

    def take_failed(self) -> tuple[list[_Item], list[int]]:
        """Return the items of designs whose groups failed and that were not evaluated again, as `add` does."""
        failed, self._failed = self._failed, []
        return self._to_items(failed)

    def finish(self, results: Sequence[ItemResult]) -> dict[int, Mapping[str, float] | Failure]:
        """Return what was found of designs, by index; those of a group that failed are for `take_failed`."""
        done: dict[int, Mapping[str, float] | Failure] = {}
        for result in results:
            worker, indices = self._groups[result.index]
            if result.failure is None:
                done |= zip(indices, result.value, strict=True)
            elif len(indices) > 1:
                self._failed += [(worker, [index]) for index in indices]
            else:
                done[indices[0]] = Failure(result.failure)
        return done

    def _to_items(self, groups: list[tuple[int, list[int]]]) -> tuple[list[_Item], list[int]]:
        self._groups += groups
        items = [[self._designs[index] for index in indices] for _, indices in groups]
        return items, [worker for worker, _ in groups]


def group_by_prefix(designs: list[Architecture], workers: int) -> list[tuple[int, list[int]]]:
    """Return ``(preferred worker, indices)`` of designs to evaluate together.

    The worker is chosen by a design's stem and first block, so that it is the same in every generation.
    """
    by_worker: dict[int, list[int]] = {}
    for index in order_by_prefix(designs):
        beginning = " ".join(map(str, steps(designs[index])[:_COMMON_STEPS]))
        by_worker.setdefault(zlib.crc32(beginning.encode()) % workers, []).append(index)
    # Small groups keep workers busy to the end of a generation, and lose little to a kill.
    size = max(1, min(GROUP_SIZE, len(designs) // (2 * workers)))
    return [
        (worker, indices[first : first + size])
        for worker, indices in sorted(by_worker.items())
        for first in range(0, len(indices), size)
    ]


def activation_cache_bytes(device: str) -> int:
    """Return the bytes of activations that a worker keeps on ``cuda`` or ``cpu``."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] // 2
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(MAX_CPU_CACHE_BYTES, free // (4 * (os.cpu_count() or 1)))


def _to_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        # Ray maps arrays read-only; nothing here writes to weights or images.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
