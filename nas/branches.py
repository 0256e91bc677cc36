"""Scores of many paths of one supernet, computing once what they have in common.

Designs of one generation descend from a few parents and begin alike. The activations after every step are
kept, the least recently used ones leaving when memory runs short, so a design costs only the steps after
the longest beginning that was seen before: in its own generation, or in an earlier one on the same worker.
Scores are those of ``Evaluator.score``, to the last bit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nas.evaluate import Batch, Tally
from nas.train import autocast
from search_spaces.architecture import Architecture
from supernet.elastic import Weights
from supernet.steps import Flow, Runner, Step, steps
from supernet.supernet import Supernet

Prefix = tuple[Step, ...]

GROUP = 8  # most designs that a worker evaluates before it reports


class Kept:
    """Values by key, the least recently used ones let go when together they grow beyond a limit.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under ``key``, or None."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: Hashable, value: Any, tensors: Iterable[Tensor]) -> None:
        """Keep a value under a key that is not in use, with ``tensors`` taking its memory."""
        size = sum(tensor.nbytes for tensor in tensors)
        self._held[key] = value, size
        self.bytes += size
        while self.bytes > self.limit and len(self._held) > 1:
            self.bytes -= self._held.popitem(last=False)[1][1]


class BranchEvaluator:
    """Scores paths of one supernet together.

    Args:
        supernet: The trained supernet, on its device.
        validation: Batches of validation images and labels, kept on the device.
        calibration: Batches of training images for BatchNorm statistics, kept on the device.
        keep_bytes: Memory for activations.
    """

    def __init__(
        self, supernet: Supernet, validation: list[Batch], calibration: list[Tensor], keep_bytes: int
    ) -> None:
        self.runner = Runner(supernet.eval())
        self.validation, self.calibration = validation, calibration
        self.kept = Kept(keep_bytes)

    @torch.inference_mode()
    def score(
        self, architectures: Sequence[Architecture], floors: Sequence[Sequence[int]] = ()
    ) -> list[dict[str, float]]:
        """Return ``top1``, ``top5``, ``loss`` and the ``seconds`` it took of every architecture.

        Args:
            architectures: Best in the order of ``in_order``, so that what two share is still kept.
            floors: For each of them, what ``racing.floors`` returned; left out, none is stopped.

        Returns:
            Of an architecture that was stopped, the scores on the images it saw, and their number as
            ``stopped_after``.
        """
        paths = [steps(architecture) for architecture in architectures]
        tallies, seconds = [Tally() for _ in paths], [0.0] * len(paths)
        floors = floors or [[-1] * len(self.validation)] * len(paths)
        stopped: set[int] = set()
        for batches in self._portions(architectures):
            for number, path in enumerate(paths):
                started = time.perf_counter()
                for batch in batches if number not in stopped else ():
                    labels = self.validation[batch][1]
                    with autocast(labels.device):
                        flow = self._validated(batch, path)
                        tallies[number].add(self.runner.classify(flow), labels)
                    if tallies[number].first <= floors[number][batch]:
                        stopped.add(number)
                        break
                seconds[number] += time.perf_counter() - started
        self.runner.forget()
        found = [{**t.scores(), "seconds": s} for t, s in zip(tallies, seconds, strict=True)]
        for number in stopped:
            found[number]["stopped_after"] = tallies[number].images
        return found

    def _portions(self, architectures: Sequence[Architecture]) -> list[range]:
        """Return numbers of validation batches, as many at once as leave two whole paths in memory."""
        largest = max(_path_bytes(architecture) for architecture in architectures)
        images = max(len(labels) for _, labels in self.validation)
        size, count = max(1, self.kept.limit // (2 * largest * images)), len(self.validation)
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def _validated(self, batch: int, path: Prefix) -> Flow:
        """Return what a path makes of a batch of validation images."""
        if not path:
            return self.validation[batch][0], None
        flow: Flow | None = self.kept.get((batch, path))
        if flow is None:
            before = self._validated(batch, path[:-1])
            flow = self.runner.run(path[-1], before, self._statistics(path))
            self.kept.put((batch, path), flow, _tensors([flow]))
        return flow

    def _statistics(self, path: Prefix) -> Weights:
        """Return the BatchNorm statistics of a path's last step."""
        return self._calibrated(path)[1] if self.runner.normalises(path[-1]) else {}

    def _calibrated(self, path: Prefix) -> tuple[Sequence[Flow], Weights]:
        """Return what a path makes of the training images, and the statistics of its last step.

        Each batch is normalised by its own statistics.
        """
        if not path:
            return [(images, None) for images in self.calibration], {}
        found: tuple[Sequence[Flow], Weights] | None = self.kept.get(path)
        if found is None:
            found = self.runner.calibrate(path[-1], self._calibrated(path[:-1])[0])
            self.kept.put(path, found, [*_tensors(found[0]), *found[1].values()])
        return found


def in_order(architectures: Sequence[Architecture]) -> list[int]:
    """Return the places of designs in an order in which those that begin alike follow one another."""
    named = [[str(step) for step in steps(architecture)] for architecture in architectures]
    return sorted(range(len(named)), key=lambda place: named[place])


def _tensors(flows: Sequence[Flow]) -> list[Tensor]:
    return [x for flow in flows for x in flow if x is not None]


def _path_bytes(architecture: Architecture) -> int:
    """Return the bytes that one image's maps after every block take in float32."""
    sites = [site for _, _, site in architecture.placed()]
    return 4 * sum(site.height * site.width * site.dim for site in sites)
