"""Exports are models of timm: loaded, given new heads and channels, and taken apart into features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import nas.timm
from nas.export.load_export import load_export
from nas.study.designs import find_architecture
from search_spaces.errors import ArchitectureError, RequestError
from search_spaces.skeleton import Style
from supernet.network import Network
from tests.helpers.exports import CLASSES, MEAN, PYRAMID, STD, write_export
from tests.supernet.test_network import TOKEN

IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    folder = tmp_path_factory.mktemp("exports") / "model"
    return folder, write_export(folder, test_crop=0.875)


def create(folder: Path, **arguments: Any) -> Any:
    return timm.create_model(f"local-dir:{folder}", **{"pretrained": True, **arguments}).eval()


def test_timm_knows_the_name() -> None:
    assert timm.is_model("nas_network") and nas.timm.nas_network.__name__ == "nas_network"


@torch.no_grad()
def test_the_same_logits(exported: tuple[Path, Network]) -> None:
    folder, network = exported
    (folder / "model.py").write_text("raise SystemExit('this was run')")
    model = create(folder)
    assert torch.equal(model(IMAGES), network(IMAGES))
    assert torch.equal(model.forward_features(IMAGES), network.forward_features(IMAGES))
    assert (model.num_classes, model.num_features, model.in_chans) == (3, 24, 3)
    untrained = create(folder, pretrained=False)
    assert not torch.equal(untrained(IMAGES), network(IMAGES))


def test_its_pretrained_cfg(exported: tuple[Path, Network]) -> None:
    cfg = create(exported[0]).pretrained_cfg
    assert {name: cfg[name] for name in ("architecture", "crop_pct", "crop_mode", "interpolation")} == {
        "architecture": "nas_network", "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic",
    }  # fmt: skip
    assert (tuple(cfg["input_size"]), tuple(cfg["mean"]), tuple(cfg["std"])) == ((3, 32, 32), MEAN, STD)
    assert tuple(cfg["label_names"]) == CLASSES and cfg["num_classes"] == 3
    assert tuple(cfg["pool_size"]) == (2, 2) and cfg["first_conv"] == "stem.conv"


@torch.no_grad()
@pytest.mark.parametrize("indices", [None, (0, 2), (1,), (-2, -1)])
def test_features_only(exported: tuple[Path, Network], indices: tuple[int, ...] | None) -> None:
    folder, network = exported
    arguments = {} if indices is None else {"out_indices": indices}
    model = create(folder, features_only=True, **arguments)
    chosen = [index % 3 for index in indices or (0, 1, 2)]
    assert model.feature_info.channels() == [(8, 16, 24)[index] for index in chosen]
    assert model.feature_info.reduction() == [(4, 8, 16)[index] for index in chosen]
    expected = network.forward_intermediates(IMAGES, chosen, intermediates_only=True)
    assert all(torch.equal(x, y) for x, y in zip(model(IMAGES), expected, strict=True))
    # Nothing is left that no output depends on, which training on several GPUs would refuse.
    with torch.enable_grad():
        sum(x.square().sum() for x in model(IMAGES)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_head_for_other_classes(exported: tuple[Path, Network]) -> None:
    folder, network = exported
    model = create(folder, num_classes=7, drop_path_rate=0.1)
    assert model(IMAGES).shape == (2, 7) and isinstance(model.get_classifier(), nn.Linear)
    assert torch.equal(model.forward_features(IMAGES), network.forward_features(IMAGES))
    assert [stage.blocks[0].drop_path for stage in model.stages] == pytest.approx([0, 0.05, 0.1])
    vectors = network.forward_head(network.forward_features(IMAGES), pre_logits=True)
    assert torch.equal(create(folder, num_classes=0)(IMAGES), vectors)
    maps = create(folder, num_classes=0, global_pool="")(IMAGES)
    assert torch.equal(maps, network.forward_features(IMAGES))


@torch.no_grad()
def test_weights_for_other_channels(exported: tuple[Path, Network]) -> None:
    folder, network = exported
    grey = create(folder, in_chans=1)
    # An image of one channel gives what it gave as three equal ones.
    torch.testing.assert_close(grey(IMAGES[:, :1]), network(IMAGES[:, :1].expand(-1, 3, -1, -1)))
    assert create(folder, in_chans=4)(torch.cat([IMAGES, IMAGES[:, :1]], 1)).shape == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize("head", ["token", "dense_token"])
def test_networks_with_a_class_token(head: str, tmp_path: Path) -> None:
    network = write_export(tmp_path / "model", replace(TOKEN, style=Style(head=head)), class_names=())
    assert torch.equal(create(tmp_path / "model")(IMAGES), network(IMAGES))
    assert create(tmp_path / "model", num_classes=2)(IMAGES).shape == (2, 2)
    (x,) = create(tmp_path / "model", features_only=True)(IMAGES)
    assert x.shape == (2, 8, 4, 6)
    grey = create(tmp_path / "model", in_chans=1)
    torch.testing.assert_close(grey(IMAGES[:, :1]), network(IMAGES[:, :1].expand(-1, 3, -1, -1)))


def test_requests_that_are_refused(exported: tuple[Path, Network]) -> None:
    folder, _ = exported
    with pytest.raises(RequestError, match=r"built from a design; load an export with timm.create_model"):
        timm.create_model("nas_network")
    with pytest.raises(RequestError, match=r"no dropout before its classifier \(drop_rate=0.2\)"):
        create(folder, drop_rate=0.2)
    with pytest.raises(ArchitectureError, match="format 7"):
        timm.create_model("nas_network", architecture={"format": 7})


def test_a_design_without_a_folder() -> None:
    model = timm.create_model("nas_network", architecture=PYRAMID.to_json())
    assert model.num_classes == 3 and tuple(model.pretrained_cfg["input_size"]) == (3, 32, 32)


def test_what_timm_saves_it_loads(exported: tuple[Path, Network], tmp_path: Path) -> None:
    model = create(exported[0], num_classes=7)
    timm.models.save_for_hf(model, tmp_path / "again", safe_serialization=True)
    again = create(tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(again(IMAGES), model(IMAGES))


def test_designs_of_new_and_of_earlier_exports_are_found(
    exported: tuple[Path, Network], tmp_path: Path
) -> None:
    folder, network = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "nas_network"
    assert find_architecture(str(folder)) == PYRAMID
    earlier = {**config, "architecture": config["model_args"]["architecture"]}
    for name in ("model_args", "pretrained_cfg", "preprocessing", "num_features", "label_names"):
        del earlier[name]
    (tmp_path / "config.json").write_text(json.dumps(earlier))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with torch.no_grad():
        assert torch.equal(load_export(tmp_path).network(IMAGES), network(IMAGES))
