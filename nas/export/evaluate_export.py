"""Measuring an exported model on the test images of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.data.dataset import Data, load_data
from nas.evaluation.accuracy import accuracy, throughput
from nas.export.config import ExportConfig
from nas.export.load_export import load_export
from nas.runtime.device import default_device
from nas.runtime.uncertainty import error_fields
from search_spaces.errors import DataError, RequestError

_BATCH_SIZE = 250


def evaluate_folder(
    folder: Path, data: str, data_dir: Path | None, *, skip_broken: bool = False
) -> dict[str, Any]:
    """Return the scores of an exported model on the test split of ``data``.

    Args:
        folder: An export folder; its ``model.py`` is not run.
        data: What ``load_data`` understands.
        data_dir: Where timm's data sets lie.
        skip_broken: Go on without image files that cannot be read.

    Returns:
        ``top1`` and ``top5`` in percent with standard errors and intervals, ``loss``, ``images``,
        ``images_per_second`` and ``device``.

    Raises:
        RequestError: If the folder holds no export, or one of images that are not square.
        CheckpointError: If its weights are damaged.
        DataError: If the images are not of the kind that the model was trained on.
    """
    export = load_export(folder)
    config, network = export.config, export.network
    _, height, width = config.input_size
    if height != width:
        raise RequestError(f"{folder} takes images of {height}x{width} px; only square ones can be evaluated")
    # By the rules of its training, or images that it was trained on would be among those to test.
    images = load_data(
        data,
        data_dir=data_dir,
        image_size=config.input_size[1],
        skip_broken=skip_broken,
        reading=config.reading,
        test_crop=config.test_crop,
    )
    _require_same_kind(folder, config, data, images)
    device = default_device()
    network.to(device)
    # Normalised as the model was trained, whatever these images' own statistics are.
    split = replace(images.final_test(), mean=config.mean, std=config.std)
    scores = accuracy(network, split.batches(_BATCH_SIZE, device=device))
    batch, _ = next(split.batches(_BATCH_SIZE, device=device))
    return {
        "top1": scores["top1"],
        **error_fields("top1", scores["top1"], len(split)),
        "top5": scores["top5"],
        **error_fields("top5", scores["top5"], len(split)),
        "loss": scores["loss"],
        "images": len(split),
        "images_per_second": throughput(network, batch),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def _require_same_kind(folder: Path, config: ExportConfig, spec: str, images: Data) -> None:
    """Raise unless ``images`` have the channels and the classes that the model was trained on."""
    if images.in_channels != config.input_size[0]:
        raise DataError(
            f"{folder} takes images of {_format_channels(config.input_size[0])} but --data {spec} has "
            f"{_format_channels(images.in_channels)}; give images such as it was trained on"
        )
    expected, given = config.class_names, images.class_names
    if config.num_classes != len(given):
        raise DataError(
            f"{folder} tells {config.num_classes} classes apart but --data {spec} has {len(given)}; give images of "
            "its classes"
        )
    if expected and expected != given:
        index = next(i for i, (name, other) in enumerate(zip(expected, given, strict=True)) if name != other)
        raise DataError(
            f"class {index} of {folder} is '{expected[index]}' but that of --data {spec} is '{given[index]}'; "
            "give images of its classes, named and ordered as in its config.json"
        )


def _format_channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"
