"""Checkpoints of supernets: what one belongs to, how far it is, and the trained weights in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nas.data.dataset import Data
from nas.runtime.files import load_tensors
from nas.study.fingerprint import compute_fingerprint
from nas.study.settings import Settings
from nas.training.former_checkpoint import checkpoint_metadata
from search_spaces.errors import CheckpointError
from search_spaces.space import Space
from supernet.supernet import Supernet


def checkpoint_identity(space: Space, settings: Settings, data: Data) -> str:
    """Return what a supernet's checkpoint belongs to; the files it starts from are read."""
    known = compute_fingerprint(settings, space, data.digest)
    return format_identity(space, settings, data.digest, known["init_from"])


def format_identity(space: Space, settings: Settings, images: str, starts: Sequence[str]) -> str:
    """Return what a supernet's checkpoint belongs to: space, settings of its training, images, where it starts.

    Args:
        space: What it holds.
        settings: Settings of its training.
        images: Digest of the images.
        starts: The networks that it starts from, ``NAME=DIGEST``.
    """
    # Checkpoints of before there was another way to draw paths belong to the first.
    policy = settings.policy if settings.paths == "by-choice" else f"{settings.policy}-{settings.paths}"
    parts = (space.digest, settings.sharing, policy, settings.seed, images, *starts)
    return "/".join(map(str, parts))


def read_progress(checkpoint: Path, *, verify: bool = False) -> tuple[int, int]:
    """Return the steps that a checkpoint has done and those of its whole training; zeros where there is none.

    Where it is damaged, they are those of the one before it, which then takes its place.

    Args:
        checkpoint: The file.
        verify: Whether all of it is read, to compare its checksum.

    Raises:
        CheckpointError: If it is damaged, and so is the one before it.
    """
    if not checkpoint.exists():
        return 0, 0
    metadata = checkpoint_metadata(checkpoint, verify=verify)
    try:
        return int(metadata.get("step", 0)), int(metadata.get("total", 0))
    except ValueError:
        raise CheckpointError(
            f"{checkpoint} does not say how many steps it has done; delete it to train anew"
        ) from None


def read_supernet(space: Space, sharing: str, path: Path) -> Supernet:
    """Read a trained supernet from a checkpoint or a plain file of its weights.

    Raises:
        CheckpointError: If the file is damaged or holds the weights of another space.
    """
    tensors, _ = load_tensors(path)
    averages = {
        name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")
    }
    supernet, weights = Supernet(space, sharing), averages or tensors
    try:
        supernet.load_state_dict(weights)
        # Operators that share projections would each take the other's in turn, under their own names.
        fits = all(torch.equal(value, weights[name]) for name, value in supernet.state_dict().items())
    except RuntimeError:
        fits = False
    if not fits:
        raise CheckpointError(
            f"{path} does not hold the supernet of {space.name}/{space.scale} with --sharing {sharing}; give the "
            "checkpoint of a search over the same space, scale and images"
        )
    return supernet.eval()
