"""The exponential moving average of a network's weights, at a cost that only depends on what a step used.

A path of a supernet uses a fifth of its weights; averaging all of them at every step took as long as the
optimizer. A weight that no step touches moves its average by a known factor, which is made up for when it
is touched again, or at the end.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn


class ModelEma:
    """The average of a network in training: ``a <- d a + (1 - d) w`` after every step.

    Args:
        model: The network; its average starts as a copy of it.
        decay: The decay d that is reached; it rises as ``1 - (1 + step)^(-2/3)``, so that the first, random
            weights are soon forgotten.
        steps: Length of the training.
    """

    def __init__(self, model: nn.Module, decay: float, steps: int) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._decays = [min(decay, 1 - (1 + step) ** (-2 / 3)) for step in range(steps + 1)]
        # The product of the decays of steps 1..n as exp(logs[n]); step 0 forgets everything.
        self._logs = [0.0] * (steps + 1)
        for step in range(1, steps + 1):
            self._logs[step] = self._logs[step - 1] + math.log(self._decays[step])
        parameters = list(model.parameters())
        self._pairs = list(zip(parameters, self.module.parameters(), strict=True))
        self._numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
        buffers = list(zip(model.buffers(), self.module.buffers(), strict=True))
        self._statistics = [pair for pair in buffers if pair[0].is_floating_point()]
        self._counts = [pair for pair in buffers if not pair[0].is_floating_point()]
        #: Steps that are in each parameter's average.
        self.seen = torch.zeros(len(parameters), dtype=torch.long)

    @torch.no_grad()
    def before(self, step: int, touched: Sequence[nn.Parameter]) -> None:
        """Make up for the steps that left ``touched`` as they are; call it before step ``step`` changes them."""
        for number in (self._numbers[id(parameter)] for parameter in touched):
            self._make_up(number, step)

    @torch.no_grad()
    def after(self, step: int, touched: Sequence[nn.Parameter]) -> None:
        """Take in what step ``step`` made of ``touched``, and all buffers."""
        numbers = [self._numbers[id(parameter)] for parameter in touched]
        weight = 1 - self._decays[step]
        if numbers:
            pairs = [self._pairs[number] for number in numbers]
            torch._foreach_lerp_([mine for _, mine in pairs], [theirs for theirs, _ in pairs], weight)
            self.seen[numbers] = step + 1
        if self._statistics:
            theirs, mine = zip(*self._statistics, strict=True)
            torch._foreach_lerp_(mine, theirs, weight)
        if self._counts:
            theirs, mine = zip(*self._counts, strict=True)
            torch._foreach_copy_(mine, theirs)

    @torch.no_grad()
    def complete(self, step: int) -> nn.Module:
        """Return the averaged network after ``step`` steps, every weight's average made up."""
        for number in range(len(self._pairs)):
            self._make_up(number, step)
        return self.module

    def _make_up(self, number: int, step: int) -> None:
        """Bring an average up to the steps before ``step``, in which its weight did not change."""
        seen = int(self.seen[number])
        if seen < step:
            theirs, mine = self._pairs[number]
            # Before the first step the average is the weight itself.
            kept = math.exp(self._logs[step - 1] - self._logs[seen - 1]) if seen else 0.0
            mine.lerp_(theirs, 1 - kept)
            self.seen[number] = step
