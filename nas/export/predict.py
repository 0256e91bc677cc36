"""What an exported model sees in image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nas.data.decoding import UnreadableImageError, read_image, resize_and_crop, to_tensor
from nas.export.config import ExportConfig, require_square
from nas.export.load_export import load_export
from nas.runtime.device import default_device
from search_spaces.errors import DataError, RequestError

_BATCH_SIZE = 64


@dataclass(frozen=True)
class ClassProbability:
    """A class with the probability that a model gives it.

    Args:
        index: Of the class, from 0.
        name: Its name; the index where the model's classes have none.
        probability: Between 0 and 1.
    """

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a model sees in an image.

    Args:
        file: The image.
        classes: The most probable ones, the most probable first.
    """

    file: Path
    classes: tuple[ClassProbability, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        classes = [
            {"index": each.index, "class": each.name, "probability": each.probability}
            for each in self.classes
        ]
        return {"file": str(self.file), "classes": classes}


@dataclass(frozen=True)
class _ImageFiles:
    """Image files as a source of images."""

    paths: tuple[Path, ...]

    def open(self, index: int) -> Image.Image:
        return Image.open(self.paths[index])

    def describe(self, index: int) -> str:
        return str(self.paths[index])


@torch.inference_mode()
def predict_files(
    folder: Path, files: Sequence[Path], top: int, device: torch.device | None = None
) -> list[Prediction]:
    """Return what the model of an export folder sees in image files; no code of the folder is run.

    Args:
        folder: The export folder.
        files: The images, of any size.
        top: How many classes of each; all of them where there are fewer.
        device: Where to compute; None for the GPU where there is one.

    Raises:
        RequestError: If the folder holds no export, or one that takes no image files.
        CheckpointError: If its weights are damaged.
        DataError: If a file is no image, or damaged; the first one is named.
    """
    export = load_export(folder)
    config = export.config
    require_square(folder, config)
    if config.input_size[0] not in (1, 3):
        raise RequestError(
            f"{folder} takes images of {config.input_size[0]} channels, which image files do not have; it takes tensors"
        )
    device, images = device or default_device(), _ImageFiles(tuple(files))
    network = export.network.to(device)
    predictions = []
    for first in range(0, len(files), _BATCH_SIZE):
        indices = range(first, min(first + _BATCH_SIZE, len(files)))
        batch = torch.stack([_read(images, index, config) for index in indices]).to(device)
        probabilities, classes = network(batch).softmax(dim=1).cpu().topk(min(top, config.num_classes))
        predictions += [
            Prediction(files[index], _to_classes(config, *row))
            for index, *row in zip(indices, classes.tolist(), probabilities.tolist(), strict=True)
        ]
    return predictions


def _read(images: _ImageFiles, index: int, config: ExportConfig) -> Tensor:
    """Return an image ``(C, H, W)`` as the model's test images were read."""
    channels, side, _ = config.input_size
    try:
        image = read_image(images, index, channels)
    except UnreadableImageError as error:
        path = images.paths[index]
        if not path.exists():
            raise DataError(f"there is no file {path}; check the path") from None
        if path.is_dir():
            raise DataError(f"{path} is a folder; give the image files in it") from None
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise DataError(
                f"{path} is no image of a format that Pillow reads; give a JPEG or PNG file"
            ) from None
        raise DataError(f"{path} cannot be decoded ({error}); replace it") from None
    pixels = to_tensor(resize_and_crop(image, side, config.test_crop)).float() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (config.mean, config.std))
    return (pixels - mean) / std


def _to_classes(
    config: ExportConfig, indices: Sequence[int], probabilities: Sequence[float]
) -> tuple[ClassProbability, ...]:
    names = config.class_names or tuple(map(str, range(config.num_classes)))
    return tuple(
        ClassProbability(index, names[index], probability)
        for index, probability in zip(indices, probabilities, strict=True)
    )
