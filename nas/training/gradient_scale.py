"""Gradients in float16: scaled so that they neither vanish nor overflow (Micikevicius et al., arXiv 1710.03740, 3.2).

Only GPUs that do not compute bfloat16 train in float16; for every other type all of this does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas.runtime.device import gradient_scaler

#: Scales start at 2^16; below this one nothing that float16 can hold is left of a loss.
_LEAST_SCALE = 2.0**-10
#: What a scaler learns; the rest of its state are constants.
_LEARNED = ("scale", "_growth_tracker")


class GradientScale:
    """The scale of a network's gradients, from its answer back to its weights.

    The gradient of the network's answer is multiplied, in float32, as it enters the network. Whatever a loss is made
    of thus stays as it is, and gradients are scaled alike over paths, shards and workers, whose sums come before
    `unscale`.

    Args:
        model: The network, on its device; its answer becomes float32.
    """

    def __init__(self, model: nn.Module) -> None:
        self._scaler = gradient_scaler(next(model.parameters()).device)
        if self._scaler.is_enabled():
            model.register_forward_hook(self._scale_gradient)

    def _scale_gradient(self, model: nn.Module, inputs: object, answer: Tensor) -> Tensor:
        answer = answer.float()
        if answer.requires_grad:
            answer.register_hook(self._scaler.scale)
        return answer

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients of a whole batch by the scale, so that they can be clipped."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take a step, or none if a gradient overflowed; the scale then halves."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def excuse_overflow(self, norm: Tensor) -> Tensor:
        """Return a norm of unscaled gradients, made finite where it is only a step that is skipped, on its device.

        Overflows are how the scale is found; a scale that has become tiny finds none.
        """
        if not self._scaler.is_enabled():
            return norm
        scale = self._scaler.scale(torch.ones_like(norm))
        return torch.where(scale < _LEAST_SCALE, norm, torch.nan_to_num(norm, 0.0, 0.0))

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was learned, on the CPU; nothing where nothing is scaled."""
        state = self._scaler.state_dict()
        return {name: torch.tensor(state[name]) for name in _LEARNED if state}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned; ignored where nothing is scaled, as is a state that is empty."""
        if self._scaler.is_enabled() and state:
            learned = {name: value.item() for name, value in state.items()}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **learned})
