"""Trained networks by what people call them: an export folder, a study, a retrained design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.export.config import read_export_config
from nas.study.designs import find_architecture
from nas.study.find import find_study
from nas.study.folder import Study
from nas.training.retraining_result import trained_network
from nas.training.weight_files import read_network
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from supernet.network import Network


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network.

    Args:
        label: How people tell it from the others.
        architecture: Its design.
        network: The network.
        mean: Mean of each channel that its images are normalised with.
        std: Standard deviation likewise.
    """

    label: str
    architecture: Architecture
    network: Network
    mean: tuple[float, ...]
    std: tuple[float, ...]


def find_trained_networks(source: str) -> list[TrainedNetwork]:
    """Return the networks that ``source`` means: an export folder, or a study's retrained designs.

    A folder of one retrained design, ``retrained/DIGEST/MODE`` of a study, means that design.

    Raises:
        RequestError: If it means none.
    """
    path = Path(source)
    if (path / "config.json").is_file():
        return [_read_export(path)]
    result_file = path / "result.json"
    study = enclosing_study(path) if result_file.is_file() else find_study(source)
    if study is None or not study.settings_file.is_file():
        raise RequestError(
            f"{source} is neither an export folder nor a study; give what nas export or nas search made"
        )
    results = [study.read_result(result_file)] if result_file.is_file() else study.results()
    if not results:
        raise RequestError(f"study {study.folder} has no retrained design; run: nas retrain {study.folder}")
    dataset, networks = study.dataset(), []
    for result in results:
        label = f"{result['digest']} {result['mode']}"
        network = trained_network(study, result)
        design = Architecture.from_json(result["architecture"])
        networks.append(TrainedNetwork(label, design, network, dataset.mean, dataset.std))
    return networks


def _read_export(folder: Path) -> TrainedNetwork:
    config = read_export_config(folder)
    network, design = read_network(folder, find_architecture(str(folder)))
    return TrainedNetwork(config.name, design, network, config.mean, config.std)


def enclosing_study(path: Path) -> Study | None:
    """Return the study that ``path`` lies in, or None."""
    for folder in (path, *path.absolute().parents):
        if (folder / "study.yaml").is_file():
            return Study(folder)
    return None


def make_labels_distinct(networks: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
    """Return the networks with labels of their own: the second ``x`` becomes ``x (2)``."""
    counts: dict[str, int] = {}
    distinct = []
    for network in networks:
        count = counts[network.label] = counts.get(network.label, 0) + 1
        distinct.append(replace(network, label=f"{network.label} ({count})") if count > 1 else network)
    return distinct
