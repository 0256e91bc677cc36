"""Opening an export folder: its network, rebuilt by this project's own code from what ``config.json`` says.

The folder's ``model.py`` is text that anybody may have edited; nothing here runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.export.config import ExportConfig, read_export_config
from nas.runtime.files import load_tensors
from nas.study.designs import find_architecture
from search_spaces.architecture import Architecture
from search_spaces.errors import ArchitectureError, CheckpointError, RequestError
from supernet.checkpoints import load_network
from supernet.network import Network

#: The files of a folder that are read.
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class LoadedExport:
    """A trained network and what its folder says of it.

    Args:
        folder: Where it lies.
        config: What ``config.json`` says of its images and classes.
        architecture: Its design.
        network: The network with its weights, in evaluation mode on the CPU.
    """

    folder: Path
    config: ExportConfig
    architecture: Architecture
    network: Network


def load_export(folder: Path) -> LoadedExport:
    """Open an export folder and run no code of it.

    Raises:
        RequestError: If it is no export folder, or its ``config.json`` cannot be read or contradicts itself.
        CheckpointError: If its weights are damaged or of another network.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise RequestError(
            f"{folder} is not an export folder (no {' and no '.join(missing)}); give one that nas export made"
        )
    config = read_export_config(folder)
    try:
        architecture = find_architecture(str(folder))
    except ArchitectureError as error:
        raise RequestError(f"{folder} is no export that can be used: {error}") from None
    _require_agreement(folder, config, architecture)
    tensors, _ = load_tensors(folder / WEIGHTS)
    try:
        network = load_network(architecture, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: {error}; export the model again") from None
    return LoadedExport(folder, config, architecture, network)


def _require_agreement(folder: Path, config: ExportConfig, architecture: Architecture) -> None:
    """Raise unless images and classes are those of the design."""
    declared = (config.input_size, config.num_classes)
    built = ((architecture.in_channels, *architecture.image_size), architecture.num_classes)
    if declared != built:
        raise RequestError(
            f"{folder / CONFIG} contradicts itself: 'input_size' and 'num_classes' are {declared[0]} and "
            f"{declared[1]}, those of its design {built[0]} and {built[1]}; export the model again"
        )
