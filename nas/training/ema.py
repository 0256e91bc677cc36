"""The exponential moving average of a network's weights, at a cost that only depends on what a step used.

A path of a supernet uses a fifth of its weights; averaging all of them at every step took as long as the
optimizer. A weight that a step leaves unchanged moves its average by a known factor, so the steps in which it
was unchanged are applied at once, when a step uses it again or when the average is read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

#: Stands for a decay of 0, no average at all, which has no logarithm; a product with it is 0 in float32.
_LEAST_DECAY = 1e-300


class ModelEma:
    """The average of a network in training: ``a <- d a + (1 - d) w`` after every step.

    Args:
        model: The network; its average starts as a copy of it.
        decay: The decay d that is reached, 0 for the weights themselves; it rises as ``1 - (1 + step)^(-2/3)``,
            so that the first, random weights are soon forgotten.
        steps: Length of the training.
    """

    def __init__(self, model: nn.Module, decay: float, steps: int) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._decays = [
            max(_LEAST_DECAY, min(decay, 1 - (1 + step) ** (-2 / 3))) for step in range(steps + 1)
        ]
        # The product of the decays of steps 1..n is exp(log_products[n]); step 0 forgets everything.
        self._log_products = [0.0] * (steps + 1)
        for step in range(1, steps + 1):
            self._log_products[step] = self._log_products[step - 1] + math.log(self._decays[step])
        parameters = list(model.parameters())
        self._pairs = list(zip(self.module.parameters(), parameters, strict=True))  # (average, weight)
        self._indices = {id(parameter): index for index, parameter in enumerate(parameters)}
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        self._statistics = [pair for pair in buffers if pair[0].is_floating_point()]
        self._counts = [pair for pair in buffers if not pair[0].is_floating_point()]
        #: Steps that each parameter's average includes; plain numbers, which nobody has to wait for.
        self.steps_included = [0] * len(parameters)

    @torch.no_grad()
    def before_step(self, step: int, used: Sequence[nn.Parameter]) -> None:
        """Include the steps before ``step`` in the averages of the parameters that it is about to change."""
        for parameter in used:
            self._include_unchanged(self._indices[id(parameter)], step)

    @torch.no_grad()
    def after_step(self, step: int, used: Sequence[nn.Parameter]) -> None:
        """Include the new values of the parameters that step ``step`` changed, and of all statistics."""
        indices = [self._indices[id(parameter)] for parameter in used]
        self._average([self._pairs[index] for index in indices], step)
        for index in indices:
            self.steps_included[index] = step + 1
        self._average(self._statistics, step)

    @torch.no_grad()
    def averaged(self, step: int) -> nn.Module:
        """Return the averaged network after ``step`` steps, all of them included for every weight."""
        for index in range(len(self._pairs)):
            self._include_unchanged(index, step)
        self._copy_counts()
        return self.module

    @torch.no_grad()
    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages as they are, from which a training resumes together with `steps_included`."""
        self._copy_counts()
        return self.module.state_dict()

    def _average(self, pairs: Sequence[tuple[Tensor, Tensor]], step: int) -> None:
        if pairs:
            averages, weights = zip(*pairs, strict=True)
            get_ema_multi_avg_fn(self._decays[step])(averages, weights, step)

    def _copy_counts(self) -> None:
        """Copy the buffers that are counters, such as BatchNorm's number of batches."""
        for average, current in self._counts:
            average.copy_(current)

    def _include_unchanged(self, index: int, step: int) -> None:
        """Include the steps before ``step`` in an average; its weight did not change in them."""
        included = self.steps_included[index]
        if included < step:
            average, weight = self._pairs[index]
            # Before the first step the average is the weight itself.
            remaining = (
                math.exp(self._log_products[step - 1] - self._log_products[included - 1]) if included else 0.0
            )
            average.lerp_(weight, 1 - remaining)
            self.steps_included[index] = step
