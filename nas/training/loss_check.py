"""Whether a training still computes numbers, asked seldom: reading a loss makes the CPU wait for the GPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from search_spaces.errors import WorkError

#: Steps between two readings on a GPU. On a CPU a loss costs nothing to read.
_STEPS_BETWEEN_READINGS = 10


class LossCheck:
    """Keeps losses and norms of gradients on their device and reads several at once.

    Args:
        device: Where the training computes.
        lr: Its highest learning rate, for the message.
    """

    def __init__(self, device: torch.device, lr: float) -> None:
        self._every = 1 if device.type == "cpu" else _STEPS_BETWEEN_READINGS
        self._lr = lr
        self._waiting: list[tuple[int, Tensor]] = []
        #: The loss that was read last; NaN before the first reading.
        self.loss = math.nan

    def add(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Keep what step ``step`` (from 1) computed, and read what was kept if it is time.

        Raises:
            WorkError: As `read` does.
        """
        self._waiting.append((step, torch.stack((loss, gradient_norm))))
        if step % self._every == 0 or math.isnan(self.loss):  # people want to see the first loss soon
            self.read()

    def read(self) -> None:
        """Read what was kept; this waits for the device.

        Raises:
            WorkError: If a loss or a gradient is no longer finite.
        """
        if not self._waiting:
            return
        steps = [step for step, _ in self._waiting]
        rows = torch.stack([values for _, values in self._waiting]).tolist()
        self._waiting.clear()
        for step, (loss, norm) in zip(steps, rows, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "the loss" if not math.isfinite(loss) else "the norm of the gradients"
                raise WorkError(
                    f"training diverged at step {step}: {what} is {loss if what == 'the loss' else norm}; lower "
                    f"the learning rate (it is {self._lr:g}) and start a new study"
                )
        self.loss = rows[-1][0]
