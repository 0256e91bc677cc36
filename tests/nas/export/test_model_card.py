"""A model card says what its accuracies were counted on."""

from __future__ import annotations

from typing import Any

import pytest

from nas.export.model_card import accuracy_metrics, model_card
from nas.runtime.uncertainty import Accuracy


def card(metrics: dict[str, Any]) -> str:
    config = {"name": "small", "digest": "d" * 12, "design": "lsa", "input_size": [1, 28, 28], "mean": [0.1]}
    config |= {"std": [0.3], "num_classes": 10, "params": 1000, "macs": 5e6, "metrics": metrics}
    config["test_crop"] = 0.875
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
    assert "| resized | shorter side to 32 pixels, bicubic; then the centre square of 28 |" in text
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
