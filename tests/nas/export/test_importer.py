"""Imported checkpoints can be shown, evaluated and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from nas.export.evaluate_export import evaluate_folder
from nas.export.importer import import_checkpoint
from nas.export.source_module import load_source
from nas.study.designs import find_architecture
from nas.training.weight_files import read_network
from search_spaces.published import PUBLISHED
from supernet.checkpoints import count_channels
from supernet.subnet import build_on_meta, network_blueprint
from tests.helpers.small_network import SMALL_DESIGN, random_images, small_network


def test_an_import_can_be_shown_evaluated_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(PUBLISHED, "small", lambda: SMALL_DESIGN)
    two = replace(SMALL_DESIGN, num_classes=2)
    original = small_network(design=two)
    torch.save({"model": original.state_dict()}, tmp_path / "small.pth")
    folder = tmp_path / "out"
    result = import_checkpoint(tmp_path / "small.pth", "small", folder, (), ["nas", "import"])
    assert (result["num_classes"], result["digest"]) == (2, two.digest)
    assert result["max_abs_difference"]["model.py"] <= 1e-5
    assert find_architecture(str(folder)) == two
    assert json.loads((folder / "config.json").read_text())["metrics"]["weights"] == "imported from small.pth"
    again, design = read_network(folder, SMALL_DESIGN)
    assert design == two
    assert torch.equal(again(random_images()), original(random_images()))
    for number, name in enumerate(("ant", "bee")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(10):
            Image.new("RGB", (8, 8), (20 * shade, 100 * number, 7)).save(
                tmp_path / "images" / name / f"{shade}.png"
            )
    scores = evaluate_folder(folder, f"folder:{tmp_path / 'images'}", None)
    assert scores["images"] == 4


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return Swin's parameters as its authors name and nest them, from timm's."""
    named = {
        re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name).replace(
            "head.fc.", "head."
        ): value
        for name, value in state.items()
    }
    named["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    named["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    return named


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "renamed"),
    [
        ("twins_svt_small", "twins_svt_small", dict),
        ("twins_pcpvt_small", "twins_pcpvt_small", dict),
        ("swin_tiny", "swin_tiny_patch4_window7_224", dict),
        ("swin_tiny", "swin_tiny_patch4_window7_224", official),
    ],
)
def test_a_full_size_checkpoint_makes_the_round_trip(
    name: str, theirs: str, renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    original = timm.create_model(theirs).eval()
    for parameter in original.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    torch.save({"model": renamed(original.state_dict())}, tmp_path / "checkpoint.pth")
    result = import_checkpoint(tmp_path / "checkpoint.pth", name, tmp_path / "out", (), ["nas", "import"])
    assert result["parameters"] == sum(parameter.numel() for parameter in original.parameters())
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    source = load_source(tmp_path / "out")
    with torch.inference_mode():
        x = source.normalise(pixels)
        assert (source.load_model()(x) - original(x)).abs().max() <= 1e-4


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_checkpoint_for_images_of_any_channels(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, "small", lambda: SMALL_DESIGN)
    design = replace(SMALL_DESIGN, in_channels=channels, num_classes=2)
    torch.save(small_network(design=design).state_dict(), tmp_path / "small.pth")
    result = import_checkpoint(tmp_path / "small.pth", "small", tmp_path / "out", (), ["nas", "import"])
    assert result["digest"] == design.digest
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["input_size"][0] == len(config["mean"]) == len(config["std"]) == channels
    assert config["mean"] == {1: [0.449], 3: [0.485, 0.456, 0.406], 4: [0.449] * 4}[channels]


@pytest.mark.parametrize(
    "name",
    ["twins_svt_small", "twins_pcpvt_small", "cswin_tiny", "dwnet_tiny", "swin_tiny", "refiner_vit_small"],
)
def test_the_channels_of_every_family_are_found(name: str) -> None:
    design = replace(PUBLISHED[name](), in_channels=1)
    state = build_on_meta(network_blueprint(design)).state_dict()
    assert count_channels(state, PUBLISHED[name]()) == 1
