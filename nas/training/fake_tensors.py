"""Tensors that have a device, a type and a shape but no memory, also of a GPU that is not here.

This file contains the one private name of torch that this needs: ``torch._subclasses.fake_tensor``, which torch's own
documents name as where ``FakeTensorMode`` is imported from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def fake_tensors(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make tensors without memory in this context; real ones on a CPU."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes a second to import

    return FakeTensorMode()


@contextlib.contextmanager
def autocast_without_gpu(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute products in ``dtype``, as `torch.autocast` does; that asks for a GPU, which this does not."""
    if dtype == torch.float32:
        yield
        return
    former = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    torch.set_autocast_enabled(device.type, True)
    torch.set_autocast_dtype(device.type, dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(device.type, former[0])
        torch.set_autocast_dtype(device.type, former[1])
