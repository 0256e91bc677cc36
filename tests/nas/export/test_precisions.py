"""Files of fewer bits: what they reach beside float32, that losses are said, and that no test image is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from nas.export.options import PRECISIONS, FileOptions
from nas.export.precisions import Samples, compare_accuracy, write_int8
from nas.export.writer import export_model
from nas.latency.onnx_writer import any_batch_size, write_onnx
from nas.latency.runtimes import open_file
from nas.runtime.console import log
from search_spaces.errors import WorkError
from supernet.subnet import build_subnet
from tests.helpers.export_designs import design_with

SIZE = (3, 32, 32)


def draw(count: int, seed: int) -> Tensor:
    """Images of a few colours each, as different from one another as a random network can see."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 4, 4, generator=rng).repeat_interleave(8, 2).repeat_interleave(8, 3)


def make_network(operator: str = "gsa") -> nn.Module:
    torch.manual_seed(0)
    network = build_subnet(design_with(operator)).eval()
    network.head.weight.data *= 4
    return network


def samples_for(network: nn.Module, calibration: Tensor) -> Samples:
    """Validation images whose classes are those that the network gives: in float32 all of them are right."""
    images = draw(200, seed=1)
    with torch.inference_mode():
        labels = network(images).argmax(1)
    assert len(labels.unique()) > 2
    return Samples(calibration, lambda: zip(images.split(64), labels.split(64), strict=True))


def export(folder: Path, network: nn.Module, calibration: Tensor, options: FileOptions, *formats: str) -> Any:
    design = design_with("gsa")
    export_model(
        network,
        design,
        folder,
        name="small",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        class_names=(),
        metrics={},
        provenance={},
        formats=formats,
        options=options,
        samples=samples_for(network, calibration),
    )
    return json.loads((folder / "verification.json").read_text())


def test_every_precision_is_written_judged_and_timed_beside_float32(tmp_path: Path) -> None:
    options = FileOptions(precisions=PRECISIONS, targets=("onnxruntime",))
    known = export(tmp_path / "m", make_network(), draw(64, seed=2), options, "onnx")
    precision = known["precision"]
    assert precision["calibration_images"] == 64
    assert (precision["images"], precision["split"], precision["tolerated_points"]) == (
        200,
        "validation",
        1.0,
    )
    files = precision["files"]
    assert list(files) == [*("model.onnx", "model.fp16.onnx", "model.int8.onnx", "model.int8-dynamic.onnx")]
    assert files["model.onnx"]["top1"] == 100 and files["model.onnx"]["difference_se"] == 0
    for name, each in files.items():
        assert each["top1"] > 90 and each["top1"] - 100 == pytest.approx(each["difference"])
        assert each["bytes"] == (tmp_path / "m" / name).stat().st_size
    weights = onnx.load(tmp_path / "m/model.fp16.onnx").graph.initializer
    assert {each.data_type for each in weights if len(each.dims) > 1} == {onnx.TensorProto.FLOAT16}
    timed = [each["file"] for each in known["latency"]["results"]]
    assert sorted(timed) == sorted(name for name in files if name.endswith(".onnx"))
    said = {each.key: each.value for each in onnx.load(tmp_path / "m/model.int8.onnx").metadata_props}
    assert said["precision"] == "int8" and json.loads(said["std"]) == [0.25] * 3
    kinds = {node.op_type for node in onnx.load(tmp_path / "m/model.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    card = (tmp_path / "m/README.md").read_text()
    assert "| `model.int8.onnx` | " in card and "those of 64 training images" in card


@pytest.mark.slow
def test_a_program_in_float16_takes_pixels_of_any_size(tmp_path: Path) -> None:
    options = FileOptions("uint8", dynamic_size=True, precisions=("fp16",))
    known = export(tmp_path / "m", make_network(), draw(8, seed=2), options, "pt2", "onnx")
    assert known["precision"]["files"]["model.fp16.pt2"]["top1"] > 90
    program = torch.export.load(tmp_path / "m/model.fp16.pt2").module()
    pixels = torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)
    half, full = (
        open_file(tmp_path / "m" / name, "onnxruntime")(pixels) for name in ("model.fp16.onnx", "model.onnx")
    )
    for found in (half, program(pixels)):
        assert 0 < (found - full).abs().max() < 0.02 * full.abs().max()


def test_a_file_that_loses_much_is_written_and_said_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "say", said.append)
    # Calibrated on nearly black images: all that is brighter is cut off.
    options = FileOptions(precisions=("int8",), targets=())
    known = export(tmp_path / "m", make_network(), 0.02 * draw(64, seed=2), options, "onnx")
    each = known["precision"]["files"]["model.int8.onnx"]
    assert each["loses"] and each["difference"] < -5
    (warning,) = said
    assert warning.startswith("warning   model.int8.onnx loses ") and "more than 1" in warning
    assert f"**{warning.removeprefix('warning   ')}.**" in (tmp_path / "m/README.md").read_text()


def test_a_network_beyond_float16_is_refused(tmp_path: Path) -> None:
    network = make_network()
    network.head.weight.data *= 1e6
    with pytest.raises(WorkError, match=r"model\.fp16\.onnx gives logits that are no numbers; nothing"):
        export(tmp_path / "m", network, draw(8, 2), FileOptions(precisions=("fp16",)), "onnx")
    assert list(tmp_path.iterdir()) == []


class Fixed(nn.Module):
    """Gives the class that the first pixel says."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :2, 0, 0] + self.shift


def test_differences_have_the_standard_error_of_pairs(tmp_path: Path) -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.4], [1.0, 0.0]])[:, :, None, None]
    write_onnx(Fixed(torch.zeros(2)), tmp_path / "model.onnx", images, any_batch_size())
    write_onnx(Fixed(torch.tensor([0.0, 0.2])), tmp_path / "other.onnx", images, any_batch_size())
    # Classes 0 1 0 0 and 0 1 1 0, of which the truth is 0 1 1 1: two right, and three.
    found = compare_accuracy(tmp_path, ["other.onnx"], [(images, torch.tensor([0, 1, 1, 1]))])
    one, other = found["files"]["model.onnx"], found["files"]["other.onnx"]
    assert (one["top1"], other["top1"], other["difference"], other["same_class"]) == (50, 75, 25, 75)
    # The changes are 0, 0, 1, 0: a deviation of sqrt(3) / 4, by the root of four images.
    assert other["difference_se"] == pytest.approx(100 * 3**0.5 / 4 / 2)
    assert not other["loses"] and found["images"] == 4


def test_int8_is_near_float32(tmp_path: Path) -> None:
    network, images = make_network("pool"), draw(64, seed=3)
    write_onnx(network, tmp_path / "model.onnx", images[:2], any_batch_size())
    expected = open_file(tmp_path / "model.onnx", "onnxruntime")(images)
    for name, calibration in (("static", images), ("dynamic", None)):
        write_int8(tmp_path / "model.onnx", tmp_path / f"{name}.onnx", calibration)
        found = open_file(tmp_path / f"{name}.onnx", "onnxruntime")(images)
        assert 0 < (found - expected).std() < 0.1 * expected.std()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dynamic.onnx", "model.onnx", "static.onnx"]
