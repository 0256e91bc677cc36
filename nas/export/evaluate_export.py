"""Measuring an exported model on the test images of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data.dataset import Data, load_data
from nas.evaluation.accuracy import accuracy, throughput
from nas.export.config import ExportConfig, read_export_config, require_square
from nas.export.load_export import CONFIG, WEIGHTS, load_export
from nas.export.source_module import load_source
from nas.runtime.device import default_device
from nas.runtime.error_text import first_line
from nas.runtime.files import verify_tensors
from nas.runtime.uncertainty import error_fields
from search_spaces.errors import CheckpointError, DataError, RequestError

_BATCH_SIZE = 250


def evaluate_folder(
    folder: Path,
    data: str,
    data_dir: Path | None,
    *,
    skip_broken: bool = False,
    trust: bool = False,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Return the scores of an exported model on the test split of ``data``.

    Args:
        folder: An export folder.
        data: What ``load_data`` understands.
        data_dir: Where timm's data sets lie.
        skip_broken: Go on without image files that cannot be read.
        trust: Run the folder's ``model.py``, whatever it does, in place of rebuilding the network.
        device: Where to compute; None for the GPU where there is one.

    Returns:
        ``top1`` and ``top5`` in percent with standard errors and intervals, ``loss``, ``images``,
        ``images_per_second`` and ``device``.

    Raises:
        RequestError: If the folder holds no export, or one of images that are not square.
        CheckpointError: If its weights are damaged.
        DataError: If the images are not of the kind that the model was trained on.
    """
    config, network = _run_source(folder) if trust else _rebuild(folder)
    require_square(folder, config)
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
    device = device or default_device()
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


def _rebuild(folder: Path) -> tuple[ExportConfig, nn.Module]:
    export = load_export(folder)
    return export.config, export.network


def _run_source(folder: Path) -> tuple[ExportConfig, nn.Module]:
    if missing := [name for name in (CONFIG, WEIGHTS, "model.py") if not (folder / name).is_file()]:
        raise RequestError(
            f"{folder} is not an export folder (no {' and no '.join(missing)}); give one that nas export made"
        )
    config = read_export_config(folder)
    verify_tensors(folder / WEIGHTS)
    try:
        network: nn.Module = load_source(folder).load_model()
    except Exception as error:
        # The file may be edited, foreign or of another version, so it may raise anything.
        raise CheckpointError(
            f"{folder / 'model.py'} cannot load its weights ({first_line(error)}); leave --trust out, or export the "
            "model again"
        ) from error
    return config, network


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
