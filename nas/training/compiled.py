"""Training with compiled regions (``supernet/regions.py``): what it needs, and which batches run it."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.runtime.error_text import first_line
from nas.training.loop import Step
from search_spaces.errors import RequestError


def require_compiler(device: torch.device) -> None:
    """Compile a line of code for ``device``, to see that it can be done.

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


def whole_batches(step: Step, size: int) -> Step:
    """Return ``step`` with compiled code for whole batches only.

    An epoch's last batch may be short. It would need all regions once more, so it runs as they are written.

    Args:
        step: A training step.
        size: Images of a whole batch.
    """

    def run(number: int, images: Tensor, labels: Tensor) -> float:
        if len(images) >= size:
            return step(number, images, labels)
        with torch.compiler.set_stance("force_eager"):
            return step(number, images, labels)

    return run
