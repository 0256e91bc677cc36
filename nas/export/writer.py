"""Standalone models: a folder that is written, verified against the network, and only then put in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data.reading import READING, Reading
from nas.export.card_sections import say_what_is_lost
from nas.export.formats import FORMATS
from nas.export.image_sizes import image_sizes
from nas.export.model_card import model_card
from nas.export.options import DEFAULT_OPTIONS, FileOptions
from nas.export.precisions import Samples
from nas.export.preprocessing import describe_preprocessing
from nas.export.timm_config import timm_entries
from nas.export.verification import OnProgress, ignore_progress, write_and_verify
from nas.runtime.files import save_tensors, scratch_folder, sweep_scratch, write_json, write_text
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from supernet.network import Network
from supernet.source import model_source


def export_model(
    network: Network,
    architecture: Architecture,
    folder: Path,
    *,
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    class_names: tuple[str, ...],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    formats: tuple[str, ...] = FORMATS,
    options: FileOptions = DEFAULT_OPTIONS,
    images: Tensor | None = None,
    samples: Samples | None = None,
    reading: Reading = READING,
    test_crop: float = 1.0,
    description: str = "whose attention design was found by neural architecture search",
    on_progress: OnProgress = ignore_progress,
) -> dict[str, float]:
    """Write the export folder of a trained network and verify every file of it.

    The files are written to a temporary folder beside the target, which replaces it once all of them are
    verified.

    Args:
        network: The trained network.
        architecture: Its design.
        folder: Where to write; replaced if it is there.
        name: Name for people.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
        class_names: Names of the classes; empty where they are not known.
        metrics: Its scores and where they are from, for the model card.
        provenance: Code, versions and command that it comes from.
        formats: Formats beside source and weights.
        options: How those formats are written.
        images: Normalised images ``(B, C, H, W)`` to verify on; random ones where they are left out.
        samples: Images that files of fewer bits are made and judged with; needed where there are to be any.
        reading: By which rules its images were read and split (`nas.data.reading`).
        test_crop: Share of an image's shorter side that it is shown outside training.
        description: What kind of image classifier it is, for people.
        on_progress: Called with ``(files written and verified, files)``.

    Returns:
        Largest absolute difference of the logits to the subnet's, by file.

    Raises:
        WorkError: If a file cannot be made or does not give the subnet's logits; nothing is left behind.
    """
    network = network.eval().cpu()
    if images is None:
        shape = (4, architecture.in_channels, *architecture.image_size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_scratch(folder.parent, below=False)
    with scratch_folder(folder) as scratch:
        draft = scratch / "model"
        draft.mkdir()
        title = f"{name}: an image classifier {description}."
        write_text(draft / "model.py", model_source(architecture, mean, std, title, test_crop))
        save_tensors(draft / "model.safetensors", network.state_dict(), {"format": "pt"})
        analytic = costs(architecture)
        config = {
            "name": name,
            **timm_entries(network, architecture, mean, std, class_names, test_crop),
            "digest": architecture.digest,
            "design": str(architecture),
            "input_size": [architecture.in_channels, *architecture.image_size],
            "mean": list(mean),
            "std": list(std),
            "num_classes": architecture.num_classes,
            "class_names": list(class_names),
            "reading": reading,
            "test_crop": test_crop,
            "interpolation": "bicubic",
            "preprocessing": describe_preprocessing(architecture, mean, std, test_crop),
            "macs": analytic.macs,
            "params": analytic.params,
            "metrics": dict(metrics),
            "provenance": dict(provenance),
        }
        write_json(draft / "config.json", config)
        verification = write_and_verify(
            network,
            draft,
            images,
            formats,
            config,
            image_sizes(architecture, options.dynamic_size),
            options,
            samples,
            on_progress,
        )
        write_json(draft / "verification.json", verification)
        say_what_is_lost(verification)
        write_text(draft / "README.md", model_card(config, verification, formats, description))
        if folder.exists():
            folder.rename(scratch / "former")
        draft.rename(folder)
    differences: dict[str, float] = verification["max_abs_difference"]
    return differences
