"""Tensors that follow from sizes alone, such as masks and indices: made once, then looked up."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

#: Most bytes that the tensors of one function take together; the oldest go first.
CACHE_BYTES = 64 * 2**20


def cached_by_size(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep what ``make(device, *sizes)`` returns, for the next call with the same arguments.

    The device is a part of what is looked up, so no tensor is used on another. Nothing is kept or looked up
    while the computation is only recorded (see ``is_recording``). Callers do not change what they are given.

    Args:
        make: Computes a tensor on the given device, from hashable arguments alone.
    """
    kept: dict[tuple[Any, ...], Tensor] = {}

    @wraps(make)
    def look_up(device: torch.device, *sizes: Any) -> Tensor:
        if is_recording(device):
            return make(device, *sizes)
        found = kept.get((device, *sizes))
        if found is None:
            # A tensor made in inference mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                found = make(device, *sizes)
            kept[device, *sizes] = found
            while sum(value.nbytes for value in kept.values()) > CACHE_BYTES:
                del kept[next(iter(kept))]
        return found

    return look_up


def is_recording(device: torch.device) -> bool:
    """Return whether operations are compiled, exported, traced, faked or captured in a CUDA graph.

    A tensor made then is a symbol, or its memory is the graph's; one made before would be a constant of it.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    if type(torch.empty(0, device="cpu")) is not Tensor:  # a mode replaces every new tensor
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
