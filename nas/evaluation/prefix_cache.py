"""Scores of many paths of one supernet, computing once what they have in common.

Designs of one generation descend from a few parents and begin alike. A design goes on from where it leaves the
path of the one before it, or from the longest beginning that is still kept: activations stay beyond the
current path as long as memory allows, since the next generation begins like this one. Scores are those of
``Evaluator.score``, to the last bit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from nas.evaluation.accuracy import Batch, Tally
from nas.runtime.device import autocast
from search_spaces.architecture import Architecture
from supernet.elastic import Weights
from supernet.steps import Flow, MixerStep, Step, StepRunner, steps
from supernet.supernet import Supernet

GROUP = 8  # most designs that a worker evaluates before it reports


class StepOutput(NamedTuple):
    """What a step makes.

    Args:
        flows: Of every batch that it was given.
        statistics: Of its BatchNorms, if it was calibrated.
    """

    flows: list[Flow]
    statistics: Weights

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        tensors = [x for flow in self.flows for x in flow if x is not None]
        return sum(tensor.nbytes for tensor in (*tensors, *self.statistics.values()))


class Prefix(NamedTuple):
    """A path as far as one of its steps.

    Args:
        step: The last step.
        key: Digest of all the steps: equal keys, equal beginnings.
    """

    step: Step
    key: bytes


PrefixChain = tuple[Prefix, ...]


class ActivationCache:
    """What steps made, by key, let go when together it grows beyond a limit.

    What was made inside a block goes first: it saves half a block where two designs differ in an MLP alone,
    the end of a block saves all of it wherever they part. Then what was not used for longest.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._inside: OrderedDict[Hashable, StepOutput] = OrderedDict()
        self._ends: OrderedDict[Hashable, StepOutput] = OrderedDict()

    def get(self, key: Hashable) -> StepOutput | None:
        """Return what is kept under ``key``, or None."""
        for held in (self._inside, self._ends):
            if key in held:
                held.move_to_end(key)
                return held[key]
        return None

    def put(self, key: Hashable, made: StepOutput, inside: bool = False) -> None:
        """Keep what was made inside a block or at the end of one, under a key that is not in use.

        What is larger than the limit is not kept.
        """
        if made.nbytes > self.limit:
            return
        (self._inside if inside else self._ends)[key] = made
        self.bytes += made.nbytes
        self.fit()

    def fit(self) -> None:
        """Let go of what is beyond the limit."""
        while self.bytes > self.limit:
            self.bytes -= (self._inside or self._ends).popitem(last=False)[1].nbytes


class PrefixRunner:
    """What the steps of one path at a time make of the same images, and what is kept of other paths.

    Args:
        kept: What is kept.
        name: Of these images, among others that share ``kept``.
        images: Batches of them.
        run: ``(path, number, flows) -> StepOutput``: what step ``number`` of a path, counted from 1, makes of ``flows``.
    """

    def __init__(
        self,
        kept: ActivationCache,
        name: Hashable,
        images: Sequence[Tensor],
        run: Callable[[PrefixChain, int, list[Flow]], StepOutput],
    ) -> None:
        self.kept, self.name, self.run = kept, name, run
        self._path: PrefixChain = ()
        self._made = {0: StepOutput([(x, None) for x in images], {})}  # by number of steps

    def at(self, path: PrefixChain, count: int) -> StepOutput:
        """Return what the first ``count`` steps of a path make."""
        self._turn(path)
        known = next(number for number in range(count, -1, -1) if self._recall(number))
        for number in range(known + 1, count + 1):
            made = self.run(path, number, self._made[number - 1].flows)
            self._made[number] = made
            if number < len(path):  # other paths seldom go on from where one ends
                last = path[number - 1]
                self.kept.put((self.name, last.key), made, isinstance(last.step, MixerStep))
        return self._made[count]

    def _turn(self, path: PrefixChain) -> None:
        """Let go of what the path does not have in common with the last one."""
        pairs = zip(self._path, path, strict=False)
        common = next((n for n, (one, other) in enumerate(pairs) if one.key != other.key), len(path))
        self._made = {number: made for number, made in self._made.items() if number <= common}
        self._path = path

    def _recall(self, number: int) -> bool:
        """Return whether it is known what the first steps of the path make."""
        if number not in self._made:
            made = self.kept.get((self.name, self._path[number - 1].key))
            if made is None:
                return False
            self._made[number] = made
        return True


class PrefixCacheEvaluator:
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
        self.runner = StepRunner(supernet.eval())
        self.validation, self.calibration = validation, calibration
        self.keep_bytes, self.kept = keep_bytes, ActivationCache(keep_bytes)

    @torch.inference_mode()
    def score(
        self, architectures: Sequence[Architecture], stop_thresholds: Sequence[Sequence[int]] = ()
    ) -> list[dict[str, float]]:
        """Return ``top1``, ``top5``, ``loss`` and the ``seconds`` it took of every architecture.

        Args:
            architectures: Best in the order of ``in_order``, so that what two share is at hand.
            floors: For each of them, what ``racing.stop_thresholds`` returned; left out, none is stopped.

        Returns:
            Of an architecture that was stopped, the scores on the images it saw, and their number as
            ``stopped_after``.
        """
        paths = [path_of(architecture) for architecture in architectures]
        tallies, seconds = [Tally() for _ in paths], [0.0] * len(paths)
        stop_thresholds = stop_thresholds or [[-1] * len(self.validation)] * len(paths)
        stopped: set[int] = set()
        calibrated = PrefixRunner(self.kept, "calibration", self.calibration, self._calibrate)
        statistics: dict[bytes, Weights] = {}

        def validate(path: PrefixChain, number: int, flows: list[Flow]) -> StepOutput:
            step, key = path[number - 1]
            if key not in statistics:
                normalises = self.runner.normalises(step)
                statistics[key] = calibrated.at(path, number).statistics if normalises else {}
            return StepOutput([self.runner.run(step, flow, statistics[key]) for flow in flows], {})

        for batches in self._portions(paths):
            branches = [
                PrefixRunner(self.kept, batch, [self.validation[batch][0]], validate) for batch in batches
            ]
            for number, path in enumerate(paths):
                started = time.perf_counter()
                for batch, branch in zip(batches, branches, strict=True) if number not in stopped else ():
                    labels = self.validation[batch][1]
                    with autocast(labels.device):
                        logits = self.runner.classify(branch.at(path, len(path)).flows[0])
                    tallies[number].add(logits, labels)
                    if tallies[number].first <= stop_thresholds[number][batch]:
                        stopped.add(number)
                        break
                seconds[number] += time.perf_counter() - started
        self.runner.forget()
        found = [{**t.scores(), "seconds": s} for t, s in zip(tallies, seconds, strict=True)]
        for number in stopped:
            found[number]["stopped_after"] = tallies[number].images
        return found

    def _portions(self, paths: Sequence[PrefixChain]) -> list[range]:
        """Return numbers of validation batches, as many at once as let a path take a quarter of the memory.

        The rest is for what is kept beyond the current path.
        """
        largest = max(_path_bytes(path) for path in paths)
        images, count = max(len(labels) for _, labels in self.validation), len(self.validation)
        size = min(count, max(1, self.keep_bytes // (4 * largest * images)))
        current = largest * (size * images + sum(len(x) for x in self.calibration))
        self.kept.limit = max(0, self.keep_bytes - current)
        self.kept.fit()
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def _calibrate(self, path: PrefixChain, number: int, flows: list[Flow]) -> StepOutput:
        """Return what a step makes of the training images: each batch is normalised by its own statistics."""
        return StepOutput(*self.runner.calibrate(path[number - 1].step, flows))


def path_of(architecture: Architecture) -> PrefixChain:
    """Return the beginnings of a design's path, shortest first."""
    path, key = [], b""
    for step in steps(architecture):
        key = blake2b(key + repr(step).encode(), digest_size=16).digest()
        path.append(Prefix(step, key))
    return tuple(path)


def in_order(architectures: Sequence[Architecture]) -> list[int]:
    """Return the places of designs in an order in which those that begin alike follow one another."""
    named = [[str(step) for step in steps(architecture)] for architecture in architectures]
    return sorted(range(len(named)), key=lambda place: named[place])


def _path_bytes(path: PrefixChain) -> int:
    """Return about how many bytes one image takes in float32 after all halves of blocks."""
    halves = [begun.step for begun in path if isinstance(begun.step, MixerStep)]
    return 4 * sum(
        2 * half.feature_map.tokens * half.feature_map.dim
        + half.shares_attention * half.feature_map.num_heads * half.feature_map.tokens**2
        for half in halves
    )
