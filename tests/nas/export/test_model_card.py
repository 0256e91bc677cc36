"""A model card says what its accuracies were counted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.export.card_use import classes_text
from nas.export.model_card import accuracy_metrics, model_card
from nas.runtime.uncertainty import Accuracy
from tests.helpers.exports import PYRAMID, write_export


def card(metrics: dict[str, Any]) -> str:
    config = {"name": "small", "digest": "d" * 12, "design": "lsa", "input_size": [1, 28, 28], "mean": [0.1]}
    config |= {"std": [0.3], "num_classes": 10, "params": 1000, "macs": 5e6, "metrics": metrics}
    config |= {"test_crop": 0.875, "class_names": ["0"] * 10, "provenance": {}}
    config |= {"model_args": {"architecture": PYRAMID.to_json()}}
    return model_card(config, {"max_abs_difference": {}}, (), "of tests")


def test_accuracies_are_printed_with_error_and_images() -> None:
    metrics = {
        **accuracy_metrics("test", Accuracy(98.0, 1000)),
        **accuracy_metrics("validation", Accuracy(97.4, 500)),
        "trained": "from scratch",
    }
    text = card(metrics)
    assert "| top-1 on the test images | 98.0 ± 0.4% of 1,000 |" in text
    assert "| top-1 on the validation images | 97.4 ± 0.7% of 500 |" in text
    assert "| trained | from scratch |" in text and "interval" not in text
    assert metrics["top-1 on the test images (%)"] == 98.0 and metrics["test images"] == 1000
    assert metrics["standard error on the test images (points)"] == pytest.approx(0.4427, abs=1e-4)
    interval = metrics["95% interval on the test images (%)"]
    assert interval == [pytest.approx(96.93, abs=0.01), pytest.approx(98.70, abs=0.01)]


def test_metrics_of_an_earlier_version() -> None:
    text = card(
        {
            "top-1 on the test images (%)": 97.9,
            "top-1 on the validation images (%)": 96.8,
            "test images": 1000,
        }
    )
    assert "| top-1 on the test images | 97.9 ± 0.5% of 1,000 |" in text
    assert "| top-1 on the validation images | 96.8% (error unknown) |" in text


def test_a_card_says_how_its_model_is_used(tmp_path: Path) -> None:
    write_export(tmp_path / "model", replace(PYRAMID, image_size=(96, 96)), test_crop=0.875)
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| classes | 3: ant, bee, fly |" in text
    assert "| made by | `nas export 'my study'` |" in text
    assert (
        "upright by EXIF, on white where transparent, RGB, 8 bits; the largest central square but for its border, "
        "0.875 of its side, resized to 96 x 96 (bicubic, antialiased); divided by 255, minus mean [0.25, 0.5, 0.75], "
        "divided by std [0.5, 0.25, 0.125]"
    ) in text
    for row in ("| 0 | 8 | 4 |", "| 1 | 16 | 8 |", "| 2 | 24 | 16 |"):
        assert row in text
    assert 'timm.create_model("local-dir:DIR", pretrained=True)' in text and "input_img_mode" not in text
    assert 'predict("image.jpg")' in text
    source = (tmp_path / "model" / "model.py").read_text()
    assert "Images are (B, 3, H, W), 96 x 96 pixels in training" in source
    assert "TEST_CROP = 0.875" in source


@pytest.mark.parametrize(
    ("channels", "mode", "reads_files"), [(1, "greyscale", True), (2, "2 channels", False)]
)
def test_what_it_says_of_channels_is_true(
    channels: int, mode: str, reads_files: bool, tmp_path: Path
) -> None:
    write_export(tmp_path / "model", replace(PYRAMID, in_channels=channels))
    text, source = ((tmp_path / "model" / name).read_text() for name in ("README.md", "model.py"))
    assert f"transparent, {mode}, 8 bits" in text and f"uint8 (B, {channels}, 32, 32)" in text
    assert ("input_img_mode" in text) == (channels == 1)
    assert ("predict(" in text, "predict(" in source) == (reads_files, reads_files)
    assert f"(B, {channels}, H, W)" in source and "(B, 3, " not in source


def test_many_classes_are_not_all_named() -> None:
    names = [f"kind {number}" for number in range(31)]
    assert classes_text(30, names[:30]) == f"30: {', '.join(names[:30])}"
    assert classes_text(31, names) == f"31: {', '.join(names[:10])} and 21 more, in `config.json`"
    assert classes_text(7, []) == "7, without names"
    assert classes_text(2, ["a|b", "c\nd"]) == "2: a\\|b, c d"
