"""timm prepares images for an export as this project does, and its evaluation counts the same answers.

timm resizes the whole image to a whole number of pixels and crops whole pixels; here the part that is shown is resized
at once. The two are the same for square images whose resized side is a whole number. For others the grids differ by
parts of a pixel: on average, images by less than a third of what neighbouring pixels differ by.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader, create_transform, resolve_model_data_config
from torch import Tensor

import nas.timm  # noqa: F401  # registers the network
from nas.export.evaluate_export import evaluate_folder
from nas.export.source_module import load_source
from tests.helpers.exports import CLASSES, PYRAMID, smooth_image, write_export

SQUARE = ((200, 200), (96, 96), (256, 256), (97, 97))
OTHER = ((240, 160), (101, 173), (500, 333), (97, 1000))


def differences(folder: Path, sizes: tuple[tuple[int, int], ...]) -> list[tuple[float, float]]:
    """Return the largest and the mean difference of the two readings of images of such sizes, in shades of 255."""
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    config = resolve_model_data_config(model)
    transform, source = create_transform(**config, is_training=False), load_source(folder)
    found = []
    for width, height in sizes:
        image = smooth_image(width, height)
        std = torch.tensor(config["std"]).view(3, 1, 1)
        difference = ((transform(image) - source.preprocess(image)[0]) * std * 255).abs()
        found.append((float(difference.max()), float(difference.mean())))
    return found


@pytest.mark.parametrize(("side", "test_crop"), [(32, 1.0), (96, 1.0), (96, 0.75), (224, 0.875)])
def test_square_images_are_prepared_alike(side: int, test_crop: float, tmp_path: Path) -> None:
    write_export(tmp_path / "model", replace(PYRAMID, image_size=(side, side)), test_crop)
    assert max(largest for largest, _ in differences(tmp_path / "model", SQUARE)) <= 1e-3


@pytest.mark.parametrize(("side", "test_crop"), [(32, 1.0), (96, 0.9), (224, 0.875)])
def test_other_images_are_prepared_within_a_third_of_a_pixel(
    side: int, test_crop: float, tmp_path: Path
) -> None:
    write_export(tmp_path / "model", replace(PYRAMID, image_size=(side, side)), test_crop)
    for (width, height), (_, mean) in zip(OTHER, differences(tmp_path / "model", OTHER), strict=True):
        image = smooth_image(width, height)
        assert mean <= 0.3 * shade_per_pixel(load_source(tmp_path / "model").preprocess(image)[0])


def shade_per_pixel(x: Tensor) -> float:
    """Return by how much neighbours differ, over both directions, in shades of 255."""
    std = torch.tensor((0.5, 0.25, 0.125)).view(3, 1, 1)
    x = x * std * 255
    return float(x.diff(dim=1).abs().mean() + x.diff(dim=2).abs().mean())


# timm leaves the files of its images to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_its_loop_of_evaluation_counts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    write_export(tmp_path / "model")
    images = tmp_path / "images"
    for number in range(36):
        part = "train" if number < 6 else "val" if number < 12 else "test"
        folder = images / part / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        smooth_image(64, 64, seed=number).save(folder / f"{number}.png")
    scores = evaluate_folder(tmp_path / "model", f"folder:{images}", None)
    model: Any = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    dataset = create_dataset("", root=str(images / "test"), split="validation")
    config = resolve_model_data_config(model)
    loader = create_loader(dataset, batch_size=16, use_prefetcher=False, num_workers=0, **config)
    correct, loss, count = 0, 0.0, 0
    with torch.inference_mode():
        for batch, labels in loader:
            logits = model(batch)
            correct += int((logits.argmax(1) == labels).sum())
            loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    assert (count, scores["images"]) == (24, 24)
    assert scores["top1"] == pytest.approx(100 * correct / count)
    assert scores["loss"] == pytest.approx(loss / count, rel=0.01)
    assert 0 < correct < count
