"""The last checkpoint but one of a training, which stands in where the last one is damaged."""

from __future__ import annotations

import os
from pathlib import Path

from nas.runtime.console import log
from nas.runtime.files import load_metadata, verify_tensors
from search_spaces.errors import CheckpointError


def former_checkpoint(checkpoint: Path) -> Path:
    """Return where the checkpoint lies that was written before this one."""
    return checkpoint.with_name(f"{checkpoint.stem}.former{checkpoint.suffix}")


def checkpoint_metadata(checkpoint: Path, *, verify: bool = False) -> dict[str, str]:
    """Return the strings of a checkpoint's header, or of the one before it where this one is damaged.

    Args:
        checkpoint: The file.
        verify: Whether all of it is read, to compare its checksum; else its header alone.

    Raises:
        CheckpointError: If both are damaged.
    """
    read = verify_tensors if verify else load_metadata
    try:
        return read(checkpoint)
    except CheckpointError:
        if not former_checkpoint(checkpoint).exists():
            raise
    return read(former_checkpoint(checkpoint))


def restore_checkpoint(checkpoint: Path) -> None:
    """Put the checkpoint before it in the place of one that is damaged, and say so; for who holds the study's lock.

    Raises:
        CheckpointError: If it is damaged and the one before it is damaged or absent.
    """
    if not checkpoint.exists():
        return
    try:
        verify_tensors(checkpoint)
    except CheckpointError as error:
        former = former_checkpoint(checkpoint)
        if not former.exists():
            raise
        metadata = verify_tensors(former)
        os.replace(former, checkpoint)
        log.say(
            f"warning   {error}: the checkpoint before it, of step {metadata.get('step', '?')}, takes its place"
        )


def remove_checkpoints(checkpoint: Path) -> None:
    """Remove the checkpoints of a training that has ended."""
    for path in (checkpoint, former_checkpoint(checkpoint)):
        path.unlink(missing_ok=True)
