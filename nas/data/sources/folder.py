"""Folders of images: one folder per class, with or without folders for the splits above them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nas.data.hashing import json_digest
from nas.data.sources.source import Source, SplitName
from search_spaces.errors import DataError, nearest

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"
}  # fmt: skip


@dataclass(frozen=True)
class _ImageFiles:
    """Image files by their paths."""

    paths: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        return Image.open(self.paths[index])

    def describe(self, index: int) -> str:
        return self.paths[index]


def read_folder(root: Path) -> Source:
    """List the images of a folder, such as torchvision's ImageFolder reads.

    Raises:
        DataError: The folder is absent or holds no classes, a class holds no images, or a split has a class
            that the training images lack.
    """
    if not root.exists():
        raise DataError(f"image folder {root} does not exist; check the path given to --data or --data-dir")
    if not root.is_dir():
        raise DataError(f"{root} is a file; --data folder:PATH needs a folder with one folder per class")
    # A class may be called "train": only a folder of folders is a split.
    split_folders = {name: root / name for name in _SPLIT_FOLDERS if any(_subfolders(root / name))}
    if "train" not in split_folders:
        split_folders = {"": root}
    class_names = _subfolders(split_folders.get("train", root))
    images = [
        (path, class_names.index(label), _SPLIT_FOLDERS.get(split, "any"))
        for split, folder in split_folders.items()
        for label in _class_folders(folder, class_names)
        for path in _image_files(folder / label)
    ]
    paths = tuple(str(path) for path, _, _ in images)
    stats = [(os.path.relpath(path, root), (s := os.stat(path)).st_size, s.st_mtime_ns) for path in paths]
    return Source(
        name=root.resolve().name,
        labels=tuple(label for _, label, _ in images),
        class_names=tuple(class_names),
        declared_splits=tuple(split for _, _, split in images),
        images=_ImageFiles(paths),
        fingerprint=json_digest([str(root.resolve()), stats]),
    )


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")


def _class_folders(folder: Path, known: Sequence[str]) -> list[str]:
    labels = _subfolders(folder)
    if not labels:
        raise DataError(
            f"{folder} holds no class folders; put the images of each class into a folder of its own"
        )
    if unknown := [label for label in labels if label not in known]:
        raise DataError(
            f"{folder / unknown[0]} is a class that the training images lack; {nearest(unknown[0], known)}"
        )
    return labels


def _image_files(folder: Path) -> list[Path]:
    paths = sorted(
        Path(parent, file)
        for parent, _, files in os.walk(folder, followlinks=True)
        for file in files
        if file.lower().endswith(EXTENSIONS) and file[0] != "."
    )
    if not paths:
        raise DataError(
            f"class folder {folder} holds no images; add some ({', '.join(EXTENSIONS)}) or remove the folder"
        )
    return paths
