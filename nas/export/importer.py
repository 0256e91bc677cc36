"""Published checkpoints as export folders of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.export.options import DEFAULT_OPTIONS, FileOptions
from nas.export.writer import export_model
from nas.runtime.console import progress_callback
from nas.runtime.provenance import provenance
from nas.training.weight_files import read_network
from search_spaces.published import published


def import_checkpoint(
    path: Path,
    name: str,
    folder: Path,
    formats: tuple[str, ...],
    command: Sequence[str],
    options: FileOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Write the export folder of a published network with the weights of a checkpoint.

    Args:
        path: The checkpoint.
        name: The published network that it is of.
        folder: Where to write; replaced if it is there.
        formats: Formats beside source and weights.
        command: The command line, for the folder's provenance.
        options: How those formats are written.

    Returns:
        ``folder``, ``name``, ``digest``, ``num_classes``, ``parameters`` and ``max_abs_difference`` of
        every file of the folder from the network.

    Raises:
        ArchitectureError: If there is no such network.
        CheckpointError: If the checkpoint cannot be read or is not of this network.
        WorkError: If the folder cannot be written or does not give the network's logits.
    """
    network, design = read_network(path, published(name))
    file = path / "model.safetensors" if path.is_dir() else path
    # timm takes seconds to import.
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    channels = design.in_channels
    # Every published network here was trained on images normalised so; other channels than RGB have its average.
    mean, std = (
        values if channels == 3 else (round(sum(values) / 3, 4),) * channels
        for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    with progress_callback("exporting") as on_progress:
        differences = export_model(
            network,
            design,
            folder,
            name=name,
            mean=mean,
            std=std,
            class_names=(),
            metrics={"weights": f"imported from {file.name}", "SHA-256 of that file": _digest(file)},
            provenance=provenance(0, command),
            formats=formats,
            options=options,
            description=f"of the published design {name}, with the weights of a checkpoint",
            on_progress=on_progress,
        )
    return {
        "folder": str(folder),
        "name": name,
        "digest": design.digest,
        "num_classes": design.num_classes,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "max_abs_difference": differences,
    }


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
