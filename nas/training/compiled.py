"""Training with compiled blocks (``supernet/compile_blocks.py``): what it needs, and which batches run it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nas.runtime.device import DeviceType, planned_device
from nas.runtime.error_text import first_line
from nas.runtime.own_process import call_in_own_process
from nas.training.loop import ForwardBackward
from search_spaces.errors import RequestError


def require_compiler(planned: DeviceType) -> None:
    """Check that code can be compiled for the device that a plan means, by compiling a line of it.

    For a GPU that is done in a process of its own, so that this one holds nothing of the GPU.

    Raises:
        RequestError: If it cannot.
        WorkError: If that process dies.
    """
    find = partial(_find_failure, planned)
    failure = find() if planned == "cpu" else call_in_own_process(find)
    if failure is not None:
        raise RequestError(
            "--compile needs a compiler that works here, such as g++ (CXX names another); "
            f"torch says: {failure}"
        )


def _find_failure(planned: DeviceType) -> str | None:
    """Return why torch cannot compile for a device, or None where it can."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(2, device=planned_device(planned)))
    except (RuntimeError, OSError, ImportError) as error:
        return first_line(error)  # torch's own message is pages long; its first line names the reason
    return None


def eager_on_short_batches(forward_backward: ForwardBackward, batch_size: int) -> ForwardBackward:
    """Return ``forward_backward``, which runs compiled code, with plain code for short batches.

    An epoch's last batch may be short. It would need all blocks to be compiled once more, so it runs without.

    Args:
        forward_backward: Forward and backward of a batch.
        batch_size: Images of a full batch.
    """

    def run(step: int, images: Tensor, labels: Tensor) -> Tensor:
        if len(images) >= batch_size:
            return forward_backward(step, images, labels)
        with torch.compiler.set_stance("force_eager"):
            return forward_backward(step, images, labels)

    return run
