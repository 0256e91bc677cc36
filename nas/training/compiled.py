"""Training with compiled blocks (``supernet/compile_blocks.py``): what it needs, and which batches run it."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.runtime.error_text import first_line
from nas.training.loop import ForwardBackward
from search_spaces.errors import RequestError


def require_compiler(device: torch.device) -> None:
    """Check that code can be compiled for ``device``, by compiling a line of it.

    Raises:
        RequestError: If it cannot.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(2, device=device))
    except (RuntimeError, OSError, ImportError) as error:
        # torch's own message is pages long; its first line names the reason.
        raise RequestError(
            "--compile needs a compiler that works here, such as g++ (CXX names another); "
            f"torch says: {first_line(error)}"
        ) from None


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
