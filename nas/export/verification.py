"""Every file of an export gives the logits of the network that was exported, or there is no export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.export.formats import FORMATS, write_and_run
from nas.export.source_module import load_source
from search_spaces.errors import WorkError
from supernet.block import Network

#: Largest difference of logits allowed in float32, times the largest logit where that exceeds 1.
TOLERANCE = 1e-5

#: Called with what is done and all there is to do.
OnProgress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """Show nothing."""


def write_and_verify(
    network: Network,
    folder: Path,
    images: Tensor,
    formats: tuple[str, ...],
    on_progress: OnProgress = ignore_progress,
) -> dict[str, Any]:
    """Write the formats of an export whose source and weights are written, and compare all of it with the network.

    Args:
        network: The network, in evaluation mode on the CPU.
        folder: The export folder with ``model.py`` and its weights.
        images: Normalised images ``(B, C, H, W)``.
        formats: Formats beside source and weights.
        on_progress: Called with ``(files done, files)``, the source being the first.

    Returns:
        The content of ``verification.json``: among others ``max_abs_difference`` of the logits by file.

    Raises:
        WorkError: If a file cannot be made or its logits differ.
    """
    on_progress(0, 1 + len(formats))
    with torch.inference_mode():
        expected = network(images)
        outputs = {"model.py": load_source(folder).load_model()(images)}
    for name in FORMATS:
        if name in formats:
            on_progress(len(outputs), 1 + len(formats))
            outputs[f"model.{name}"] = write_and_run(network, folder, images, name)
    on_progress(len(outputs), 1 + len(formats))
    largest_logit = float(expected.abs().max())
    allowed = TOLERANCE * max(1.0, largest_logit)
    differences = {}
    for file, output in outputs.items():
        differences[file] = float((output - expected).abs().max())
        if not differences[file] <= allowed:
            raise WorkError(
                f"the exported {file} differs from the subnet by {differences[file]:.2g} (allowed {allowed:.2g}); "
                "nothing was exported"
            )
    return {
        "images": list(images.shape),
        "largest_logit": largest_logit,
        "allowed": allowed,
        "max_abs_difference": differences,
    }
