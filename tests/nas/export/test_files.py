"""The files of an export: what they take, at which sizes, what they say of themselves, and that faults are caught."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from nas.export import formats, graph_input, image_sizes, verification
from nas.export.graph_input import PixelNetwork, to_pixels
from nas.export.image_sizes import size_step
from nas.export.options import FileOptions
from nas.export.writer import export_model
from nas.latency.runtimes import open_file
from search_spaces.errors import WorkError
from search_spaces.published import published
from supernet.subnet import build_subnet
from tests.helpers.export_designs import design_with

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NAMES = ("käse", "b", "c", "d", "e")


def export(
    folder: Path,
    options: FileOptions,
    operator: str = "pool",
    kinds: tuple[str, ...] = ("onnx",),
    stem: str = "patch4x4",
) -> nn.Module:
    """Export a small design to ``folder``; return its network."""
    torch.manual_seed(0)
    design = replace(design_with(operator), stem=stem)
    network = build_subnet(design)
    export_model(
        network,
        design,
        folder,
        name="small",
        mean=MEAN,
        std=STD,
        class_names=NAMES,
        metrics={},
        provenance={},
        formats=kinds,
        options=options,
        test_crop=0.875,
    )
    return network


def read_verification(folder: Path) -> Any:
    return json.loads((folder / "verification.json").read_text())


def run_onnx(file: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def test_a_file_for_pixels_of_any_size_gives_the_networks_logits(tmp_path: Path) -> None:
    network = export(tmp_path / "m", FileOptions("uint8", dynamic_size=True, opset=18), kinds=("pt2", "onnx"))
    program = torch.export.load(tmp_path / "m/model.pt2").module()
    rng = np.random.default_rng(0)
    for height, width in ((32, 32), (36, 64), (8, 12)):
        pixels = rng.integers(0, 256, (3, 3, height, width), dtype=np.uint8)
        normalised = (pixels / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        with torch.inference_mode():
            expected = network(torch.from_numpy(normalised).float())
            found = program(torch.from_numpy(pixels))
        assert (found - expected).abs().max() < 1e-5
        assert (run_onnx(tmp_path / "m/model.onnx", torch.from_numpy(pixels)) - expected).abs().max() < 1e-5
    known = read_verification(tmp_path / "m")
    assert known["sizes"]["model.onnx"] == {"own": [32, 32], "multiples_of": 4, "smallest": 8}
    assert known["max_abs_difference_at_other_size"].keys() == {"model.pt2", "model.onnx"}
    card = (tmp_path / "m/README.md").read_text()
    assert "height and width any multiples of 4 pixels" in card and "uint8 images as they are decoded" in card


def test_the_onnx_file_says_what_it_takes(tmp_path: Path) -> None:
    export(tmp_path / "m", FileOptions(opset=18))
    model = onnx.load(tmp_path / "m/model.onnx")
    said = {each.key: each.value for each in model.metadata_props}
    assert json.loads(said["class_names"]) == list(NAMES)
    assert (json.loads(said["mean"]), json.loads(said["std"])) == (list(MEAN), list(STD))
    assert json.loads(said["input_size"]) == [3, 32, 32]
    assert (said["interpolation"], said["crop"], said["input"]) == ("bicubic", "0.875", "normalized")
    assert (said["name"], said["digest"]) == ("small", design_with("pool").digest)
    assert said["sizes"] == "32 x 32 pixels only"
    assert model.producer_name == "nas" and model.opset_import[0].version == 18


def test_a_design_that_cannot_be_recorded_for_several_sizes_has_a_fixed_one_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "multiples of 12 pixels, of which" in image_sizes.image_sizes(design_with("lsa"), True).why_fixed
    # Patches of 2 positions do not fill maps of an odd side, as if they did.
    monkeypatch.setattr(image_sizes, "size_step", lambda architecture: 4)
    export(tmp_path / "m", FileOptions(dynamic_size=True), "gsa", ("pt2",))
    (sizes,) = read_verification(tmp_path / "m")["sizes"].values()
    assert sizes["multiples_of"] is None
    assert f"32 x 32 pixels only ({sizes['why_fixed']})" in (tmp_path / "m/README.md").read_text()


def test_patches_that_are_not_square_leave_for_any_multiple_of_their_longer_side(tmp_path: Path) -> None:
    network = export(tmp_path / "m", FileOptions(dynamic_size=True), kinds=("pt2", "onnx"), stem="patch8x4")
    images = torch.randn(2, 3, 16, 40)
    with torch.inference_mode():
        difference = run_onnx(tmp_path / "m/model.onnx", images) - network(images)
    assert difference.abs().max() < 1e-5
    known = read_verification(tmp_path / "m")
    assert known["sizes"]["model.onnx"]["multiples_of"] == 8
    assert "| 0 | 16 | 8 x 4 |" in (tmp_path / "m/README.md").read_text()


def test_the_padding_of_pvtv2_leaves_in_every_format(tmp_path: Path) -> None:
    export(tmp_path / "m", FileOptions(dynamic_size=True), kinds=("pt2", "onnx"), stem="conv7x7_s4_p3")
    known = read_verification(tmp_path / "m")
    assert known["sizes"]["model.onnx"]["multiples_of"] == 4
    assert max(known["max_abs_difference"].values()) < 1e-5
    assert "kernel_size=7, stride=4, padding=3)" in (tmp_path / "m/model.py").read_text()
    # Maps are a position smaller than a quarter: no rule for all sizes.
    design = replace(design_with("pool"), stem="conv7x7_s4_p0")
    assert "padding of 'conv7x7_s4_p0'" in image_sizes.image_sizes(design, True).why_fixed


@pytest.mark.parametrize(
    ("name", "pixels"), [("swin_tiny", 4 * 8 * 7), ("cswin_tiny", 4 * 8 * 7), ("refiner_vit_small", 16)]
)
def test_sizes_are_multiples_of_what_every_block_divides_its_map_by(name: str, pixels: int) -> None:
    assert size_step(published(name)) == pixels


class ForgetsStd(PixelNetwork):
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.float() / 255 - self.mean)
        return logits


def test_a_wrong_normalisation_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_input, "PixelNetwork", ForgetsStd)
    with pytest.raises(WorkError, match=r"model\.pt2 differs from the subnet by .* nothing was exported"):
        export(tmp_path / "m", FileOptions("uint8"), kinds=("pt2",))
    assert list(tmp_path.iterdir()) == []


def test_faults_of_an_onnx_file_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = verification.add_metadata

    def scale_the_last_weights(path: Path, properties: dict[str, str]) -> None:
        add(path, properties)
        model = onnx.load(path)
        head = next(each for each in model.graph.initializer if sorted(each.dims) == [5, 16])
        head.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) * np.float32(1.01), head.name)
        )
        onnx.save(model, path)

    def truncate(path: Path, properties: dict[str, str]) -> None:
        path.write_bytes(path.read_bytes()[:2000])

    def forget_the_mean(path: Path, properties: dict[str, str]) -> None:
        add(path, {**properties, "mean": "[0, 0, 0]"})

    written: dict[str, bytes] = {}

    def write_once(network: Any, path: Path, *rest: Any) -> None:
        if not written:
            write(network, path, *rest)
            written["onnx"] = path.read_bytes()
        path.write_bytes(written["onnx"])

    write = formats.write_onnx
    monkeypatch.setattr(
        formats,
        "_BY_NAME",
        {
            "onnx": formats._Format(
                "ONNX", "model.onnx", write_once, partial(open_file, runtime="onnxruntime")
            )
        },
    )
    for fault, sentence in (
        (scale_the_last_weights, r"model\.onnx differs from the subnet by 0\.0"),
        (truncate, r"model\.onnx .* \(.*\); nothing was exported"),
        (forget_the_mean, r"model\.onnx does not say what it should \(mean\)"),
    ):
        monkeypatch.setattr(verification, "add_metadata", fault)
        with pytest.raises(WorkError, match=sentence):
            export(tmp_path / "m", FileOptions())
        assert list(tmp_path.iterdir()) == []


def test_pixels_come_back_from_normalised_images() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_pixels((pixels / 255 - 0.3) / 0.7, (0.3,), (0.7,)), pixels)


def test_targets_are_measured_and_openvino_gives_the_networks_logits(tmp_path: Path) -> None:
    import openvino

    options = FileOptions("uint8", targets=("torch", "onnxruntime", "openvino"))
    network = export(tmp_path / "m", options, "pool", ("onnx", "openvino"))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    compiled = openvino.Core().compile_model(tmp_path / "m/model.xml", "CPU")
    normalised = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        expected = network(normalised)
    assert (
        np.abs(compiled(pixels.numpy())[0] - expected.numpy()).max() < 1e-2
    )  # bfloat16 where there are units
    known = read_verification(tmp_path / "m")
    assert known["max_abs_difference"]["model.xml"] < 1e-5
    latency = known["latency"]
    assert [(each["file"], each["runtime"]) for each in latency["results"]] == [
        ("model.py", "torch"),
        ("model.onnx", "onnxruntime"),
        ("model.xml", "openvino"),
    ]
    assert (latency["threads"], latency["batch"], latency["clock"]) == (1, 1, "wall")
    for each in latency["results"]:
        low, high = each["quartiles_ms"]
        assert 0 < low <= each["median_ms"] <= high
    assert "| `model.xml` | openvino " in (tmp_path / "m/README.md").read_text()
    assert sorted(path.name for path in (tmp_path / "m").glob("*.onnx")) == ["model.onnx"]
