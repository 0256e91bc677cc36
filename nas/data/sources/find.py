"""From a ``--data`` spec to the source that it names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from nas.data.sources.folder import ReadOptions, read_folder
from nas.data.sources.mnist5k import read_mnist5k
from nas.data.sources.own_dataset import PREFIX as OWN
from nas.data.sources.source import Source
from nas.data.sources.timm_set import is_timm_name, read_timm_set
from nas.data.sources.tree import printable
from nas.data.sources.url import is_url, read_url
from search_spaces.errors import DataError

_PREFIX = "folder:"
_FOLDER_NAMES = ("folder", "image_folder", "torch/folder", "torch/image_folder")


def find_source(
    spec: str, data_dir: Path | None, cache_dir: Path, options: ReadOptions | None = None
) -> Source:
    """Find what ``mnist5k``, ``folder:PATH``, a URL or a name that timm's ``create_dataset`` knows stands for.

    Args:
        spec: The spec.
        data_dir: Where timm's data sets lie.
        cache_dir: Where parsed copies and downloads are kept.
        options: How a folder is read.

    Raises:
        DataError: The name is unknown, or what it names cannot be used.
    """
    options = options or ReadOptions()
    if spec == "mnist5k":
        return read_mnist5k(cache_dir)
    if spec.startswith(OWN):
        raise DataError(
            f"--data {printable(spec)} is a data set of a Python program; give it there as data= of nas.search or "
            "nas.retrain"
        )
    if is_url(spec):
        return read_url(spec, cache_dir, options)
    if spec.startswith(_PREFIX):
        return read_folder(_to_path(spec.removeprefix(_PREFIX)), cache_dir, options)
    if spec.lower() in _FOLDER_NAMES:
        if data_dir is None:
            raise DataError(f"--data {spec} needs --data-dir; type --data folder:PATH instead")
        return read_folder(data_dir, cache_dir, options)
    if not is_timm_name(spec):
        _refuse_bare_path(spec)
    return read_timm_set(spec, data_dir, cache_dir)


def is_folder(spec: str) -> bool:
    """Return whether a spec means a folder of image files, here or elsewhere."""
    return is_url(spec) or spec.startswith(_PREFIX) or spec.lower() in _FOLDER_NAMES


def _to_path(text: str) -> Path:
    """Return the path of a ``folder:`` spec.

    Raises:
        DataError: There is none, or it cannot be one.
    """
    if not text.strip():
        raise DataError("--data folder: names no folder; type --data folder:PATH, or folder:. for this one")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"--data folder:{printable(text)} is not UTF-8; rename the folder or link to it")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise DataError(
            f"--data folder:{text} names an unknown home folder; write the path in full"
        ) from None


def _refuse_bare_path(spec: str) -> None:
    """Refuse a folder's path that lacks ``folder:``, with the option to type.

    Raises:
        DataError: If it is one.
    """
    path = spec[len(_PREFIX) :] if spec.lower().startswith(_PREFIX) else spec
    is_path = path != spec or path.startswith(("/", "~", "./", "../")) or path in (".", "..")
    if path and (is_path or os.path.isdir(path)):
        typed = shlex.quote(f"folder:{printable(path)}")
        raise DataError(f"--data {printable(spec)} is a path; type --data {typed} to read a folder of images")
