"""Scores of many paths of one supernet, with the steps that they have in common computed once.

Designs of one generation descend from a few parents and begin alike. Where a design begins like the one
before it, it continues from the activations at the last step that both have; else from the longest beginning
that is still cached. Activations are kept beyond the current path as long as memory allows, since the next
generation begins like this one. Scores are those of ``Evaluator.score``, to the last bit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from nas.evaluation.accuracy import AccuracyMeter, Batch
from nas.runtime.device import autocast
from search_spaces.architecture import Architecture
from supernet.steps import Flow, MixerStep, Step, StepRunner, steps
from supernet.supernet import Supernet
from supernet.weight_slices import Weights

GROUP_SIZE = 8  # most designs that a worker evaluates before it reports


class StepOutput(NamedTuple):
    """The output of one step.

    Attributes:
        flows: Activations of every batch that was given to the step.
        statistics: Statistics of its BatchNorms, if it was calibrated.
    """

    flows: list[Flow]
    statistics: Weights

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        tensors = [x for flow in self.flows for x in flow if x is not None]
        return sum(tensor.nbytes for tensor in (*tensors, *self.statistics.values()))


class Prefix(NamedTuple):
    """A path up to and including one of its steps.

    Attributes:
        step: The last step.
        key: Digest of all steps: prefixes are equal where their keys are.
    """

    step: Step
    key: bytes


#: All prefixes of a path, shortest first.
PrefixChain = tuple[Prefix, ...]


class ActivationCache:
    """Outputs of steps by key, which are evicted when together they take more bytes than a limit.

    Outputs inside a block are evicted first: one saves half a block where two designs differ in an MLP alone,
    while the output of a whole block saves all of it wherever the designs part. Within both kinds the least
    recently used goes first.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._inside_blocks: OrderedDict[Hashable, StepOutput] = OrderedDict()
        self._block_ends: OrderedDict[Hashable, StepOutput] = OrderedDict()

    def get(self, key: Hashable) -> StepOutput | None:
        """Return the output cached under ``key``, or None."""
        for outputs in (self._inside_blocks, self._block_ends):
            if key in outputs:
                outputs.move_to_end(key)
                return outputs[key]
        return None

    def put(self, key: Hashable, output: StepOutput, inside_block: bool = False) -> None:
        """Cache an output under a key that is not in use, unless it is larger than the limit.

        Args:
            key: The key.
            output: The output.
            inside_block: Whether its step lies inside a block rather than at the end of one.
        """
        if output.nbytes > self.limit:
            return
        (self._inside_blocks if inside_block else self._block_ends)[key] = output
        self.bytes += output.nbytes
        self.evict()

    def evict(self) -> None:
        """Remove outputs until the rest is within the limit."""
        while self.bytes > self.limit:
            _, output = (self._inside_blocks or self._block_ends).popitem(last=False)
            self.bytes -= output.nbytes


class PrefixRunner:
    """Runs paths on the same images one after the other, each from the longest beginning that is known.

    Args:
        cache: Outputs of earlier paths; may be shared with runners of other images.
        name: Name of these images in the cache.
        images: Batches of them.
        run_step: ``(chain, number, flows) -> StepOutput``: runs step ``number`` of a path, counted from 1.
    """

    def __init__(
        self,
        cache: ActivationCache,
        name: Hashable,
        images: Sequence[Tensor],
        run_step: Callable[[PrefixChain, int, list[Flow]], StepOutput],
    ) -> None:
        self.cache, self.name, self.run_step = cache, name, run_step
        self._chain: PrefixChain = ()
        # Outputs along the current path by number of steps; 0 are the images.
        self._outputs = {0: StepOutput([(x, None) for x in images], {})}

    def output_after(self, chain: PrefixChain, count: int) -> StepOutput:
        """Return the output of the first ``count`` steps of a path."""
        self._switch_to(chain)
        known = next(number for number in range(count, -1, -1) if self._is_known(number))
        for number in range(known + 1, count + 1):
            output = self.run_step(chain, number, self._outputs[number - 1].flows)
            self._outputs[number] = output
            if number < len(chain):  # other paths seldom continue where one ends
                last = chain[number - 1]
                self.cache.put((self.name, last.key), output, isinstance(last.step, MixerStep))
        return self._outputs[count]

    def _switch_to(self, chain: PrefixChain) -> None:
        """Make a path the current one, keeping the outputs that it shares with the one before."""
        pairs = zip(self._chain, chain, strict=False)
        common = next((n for n, (one, other) in enumerate(pairs) if one.key != other.key), len(chain))
        self._outputs = {number: output for number, output in self._outputs.items() if number <= common}
        self._chain = chain

    def _is_known(self, number: int) -> bool:
        """Return whether the output after ``number`` steps is known, fetching it from the cache if it is there."""
        if number not in self._outputs:
            output = self.cache.get((self.name, self._chain[number - 1].key))
            if output is None:
                return False
            self._outputs[number] = output
        return True


class PrefixCacheEvaluator:
    """Scores paths of one supernet together.

    Args:
        supernet: The trained supernet, on its device.
        validation: Batches of validation images and labels, kept on the device.
        calibration: Batches of training images for BatchNorm statistics, kept on the device.
        memory: Bytes for activations.
    """

    def __init__(
        self, supernet: Supernet, validation: list[Batch], calibration: list[Tensor], memory: int
    ) -> None:
        self.runner = StepRunner(supernet.eval())
        self.validation, self.calibration = validation, calibration
        self.memory, self.cache = memory, ActivationCache(memory)

    @torch.inference_mode()
    def score(
        self, architectures: Sequence[Architecture], stop_thresholds: Sequence[Sequence[int]] = ()
    ) -> list[dict[str, float]]:
        """Return the scores of every architecture, as `AccuracyMeter.scores` does, and the ``seconds`` it took.

        Args:
            architectures: Best in the order of `order_by_prefix`, in which those that begin alike are neighbours.
            stop_thresholds: For each of them the result of ``racing.stop_thresholds``; none is stopped without.

        Returns:
            Of an architecture that was stopped, the scores on the images it saw, and their number as
            ``stopped_after``.
        """
        chains = [prefix_chain(architecture) for architecture in architectures]
        meters, seconds = [AccuracyMeter() for _ in chains], [0.0] * len(chains)
        thresholds = stop_thresholds or [[-1] * len(self.validation)] * len(chains)
        stopped: set[int] = set()
        run_step = self._validation_step()
        for batches in self._portions(chains):
            runners = [
                PrefixRunner(self.cache, batch, [self.validation[batch][0]], run_step) for batch in batches
            ]
            for number, chain in enumerate(chains):
                if number in stopped:
                    continue
                started = time.perf_counter()
                for batch, runner in zip(batches, runners, strict=True):
                    labels = self.validation[batch][1]
                    with autocast(labels.device):
                        logits = self.runner.classify(runner.output_after(chain, len(chain)).flows[0])
                    meters[number].add(logits, labels)
                    if meters[number].num_top1 <= thresholds[number][batch]:
                        stopped.add(number)
                        break
                seconds[number] += time.perf_counter() - started
        self.runner.forget()
        scores = [{**meter.scores(), "seconds": spent} for meter, spent in zip(meters, seconds, strict=True)]
        for number in stopped:
            scores[number]["stopped_after"] = meters[number].num_images
        return scores

    def _validation_step(self) -> Callable[[PrefixChain, int, list[Flow]], StepOutput]:
        """Return the function that runs a step on validation images, with BatchNorm statistics of its path's own."""
        calibration = PrefixRunner(self.cache, "calibration", self.calibration, self._calibrate_step)
        statistics: dict[bytes, Weights] = {}

        def run_step(chain: PrefixChain, number: int, flows: list[Flow]) -> StepOutput:
            step, key = chain[number - 1]
            if key not in statistics:
                normalises = self.runner.normalises(step)
                statistics[key] = calibration.output_after(chain, number).statistics if normalises else {}
            return StepOutput([self.runner.run(step, flow, statistics[key]) for flow in flows], {})

        return run_step

    def _calibrate_step(self, chain: PrefixChain, number: int, flows: list[Flow]) -> StepOutput:
        """Run a step on training images, where each batch is normalised by its own statistics."""
        return StepOutput(*self.runner.calibrate(chain[number - 1].step, flows))

    def _portions(self, chains: Sequence[PrefixChain]) -> list[range]:
        """Return numbers of validation batches, as many at once as let a path take a quarter of the memory.

        The rest is for the cache.
        """
        largest = max(_path_bytes(chain) for chain in chains)
        images, count = max(len(labels) for _, labels in self.validation), len(self.validation)
        size = min(count, max(1, self.memory // (4 * largest * images)))
        current = largest * (size * images + sum(len(x) for x in self.calibration))
        self.cache.limit = max(0, self.memory - current)
        self.cache.evict()
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def prefix_chain(architecture: Architecture) -> PrefixChain:
    """Return all prefixes of an architecture's path, shortest first."""
    chain, key = [], b""
    for step in steps(architecture):
        key = blake2b(key + repr(step).encode(), digest_size=16).digest()
        chain.append(Prefix(step, key))
    return tuple(chain)


def order_by_prefix(architectures: Sequence[Architecture]) -> list[int]:
    """Return the indices of architectures in an order in which those that begin alike follow one another."""
    texts = [[str(step) for step in steps(architecture)] for architecture in architectures]
    return sorted(range(len(texts)), key=lambda index: texts[index])


def _path_bytes(chain: PrefixChain) -> int:
    """Return about how many bytes one image takes in float32 after all halves of blocks."""
    mixers = [prefix.step for prefix in chain if isinstance(prefix.step, MixerStep)]
    return 4 * sum(
        2 * step.feature_map.tokens * step.feature_map.dim
        + step.shares_attention * step.feature_map.num_heads * step.feature_map.tokens**2
        for step in mixers
    )
