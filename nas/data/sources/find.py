"""From a ``--data`` spec to the source that it names."""

from __future__ import annotations

from pathlib import Path

from nas.data.sources.folder import read_folder
from nas.data.sources.mnist5k import read_mnist5k
from nas.data.sources.source import Source
from nas.data.sources.timm_set import read_timm_set
from search_spaces.errors import DataError

_FOLDER_NAMES = ("folder", "image_folder", "torch/folder", "torch/image_folder")


def find_source(spec: str, data_dir: Path | None, cache_dir: Path) -> Source:
    """Find what ``mnist5k``, ``folder:PATH`` or a name that timm's ``create_dataset`` knows stands for.

    Args:
        spec: The spec.
        data_dir: Where timm's data sets lie.
        cache_dir: Where parsed copies and downloads are kept.

    Raises:
        DataError: The name is unknown, or what it names cannot be used.
    """
    if spec == "mnist5k":
        return read_mnist5k(cache_dir)
    if spec.startswith("folder:"):
        return read_folder(Path(spec.removeprefix("folder:")).expanduser())
    if spec.lower() in _FOLDER_NAMES:
        if data_dir is None:
            raise DataError(f"--data {spec} needs --data-dir; type --data folder:PATH instead")
        return read_folder(data_dir)
    return read_timm_set(spec, data_dir, cache_dir)
