"""A few images and what a trained network answered, kept beside its weights.

A checksum says that a file is what was written; this says that the weights are those that were trained and evaluated,
whatever happened to them before they were written again, mixed up or copied by hand.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.runtime.files import load_tensors, save_tensors
from search_spaces.errors import CheckpointError

FILE_NAME = "logits.safetensors"
#: Validation images that are kept.
STORED_IMAGES = 4
#: Largest difference of logits, times the largest of them where that exceeds 1: processors add floats in other orders.
_TOLERANCE = 1e-3


@torch.inference_mode()
def write_logits(folder: Path, network: nn.Module, images: Tensor) -> None:
    """Store the answers of a network, in evaluation mode on the CPU, about normalised images ``(B, C, H, W)``."""
    save_tensors(folder / FILE_NAME, {"images": images, "logits": network(images)})


@torch.inference_mode()
def require_stored_logits(folder: Path, network: nn.Module) -> None:
    """Check that a network answers as the one that was trained in ``folder`` did, unless nothing is stored there.

    Args:
        folder: Of a retrained design; earlier versions stored no answers.
        network: In evaluation mode on the CPU.

    Raises:
        CheckpointError: If it does not, or the file is damaged.
    """
    if (stored := _read(folder)) is None:
        return
    images, expected = stored
    try:
        difference = float((network(images) - expected).abs().max())
    except RuntimeError:
        raise _foreign(folder) from None
    allowed = _TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise CheckpointError(
            f"the weights in {folder} are not those that were trained: their logits differ by {difference:.2g} from "
            f"the stored ones (allowed {allowed:.2g}); put the trained weights back, or retrain the design"
        )


def read_stored_images(folder: Path) -> Tensor | None:
    """Return the normalised images ``(B, C, H, W)`` whose answers are stored; None where there are none.

    Raises:
        CheckpointError: If the file is damaged.
    """
    stored = _read(folder)
    return None if stored is None else stored[0]


def _read(folder: Path) -> tuple[Tensor, Tensor] | None:
    if not (path := folder / FILE_NAME).exists():
        return None
    tensors, _ = load_tensors(path)
    if tensors.keys() != {"images", "logits"}:
        raise _foreign(folder)
    return tensors["images"], tensors["logits"]


def _foreign(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder / FILE_NAME} does not hold answers of this network; delete it to do without"
    )
