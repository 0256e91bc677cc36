"""The images that fewer bits are judged with are training and validation images of the study, whatever their order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from nas.data.dataset import load_data
from nas.pipeline import export_samples
from nas.study.folder import Study


def test_no_test_image_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data("mnist5k")
    monkeypatch.setattr(export_samples, "load_study_data", lambda settings, study: data)
    asked: list[Any] = []
    study = SimpleNamespace(settings=lambda: None, require_images=asked.append)
    samples = export_samples.load_samples(cast(Study, study))
    assert asked == [data] and len(samples.calibration) == 256

    def rows(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    splits = {
        name: rows(next(split.batches(len(split)))[0])
        for name, split in (("train", data.train), ("val", data.val), ("test", data.final_test()))
    }
    compared = [images for images, _ in samples.compared()]
    seen = rows(torch.cat(compared))
    assert rows(samples.calibration) <= splits["train"] and seen <= splits["val"]
    assert len(seen) == min(len(data.val), 2000) and not (seen | rows(samples.calibration)) & splits["test"]
