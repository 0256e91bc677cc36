"""Checkpoint files become networks, export folders and starts of supernets, or are refused in a sentence."""

from __future__ import annotations

import argparse
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

from nas.data.dataset import load_data
from nas.export.evaluate_export import evaluate_folder
from nas.export.importer import import_checkpoint
from nas.export.source_module import load_source
from nas.runtime.files import save_tensors
from nas.study.find import find_architecture
from nas.study.recipe import Recipe
from nas.study.settings import Settings, read_settings
from nas.training.pretrained import initialize_supernet, read_pretrained_start
from nas.training.supernet import train_supernet
from nas.training.weight_files import read_network, read_weights
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.declaration import Declaration, load_declaration, parse_declaration
from search_spaces.errors import ArchitectureError, CheckpointError, RequestError, SpaceError
from search_spaces.published import PUBLISHED, published
from search_spaces.space import Space
from supernet.block import Network
from supernet.subnet import build_subnet
from supernet.supernet import Supernet

SPACE = """
name: small
blocks:
  mlp_ratio: [2, 4]
  operators:
    lsa: {window_size: [2, 4], pos: [none, cpe]}
    gsa: {sr_ratio: [1, 2], pos: [none, cpe]}
scales:
  only:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
"""
# Built like Twins-SVT: local, then global, an encoding after the first block.
DESIGN = Architecture(
    (
        Stage(
            8, 2, (Block("lsa", (("window_size", 2),), "cpe", 4), Block("gsa", (("sr_ratio", 2),), "none", 2))
        ),
    ),
    image_size=(8, 8),
    num_classes=3,
    stem="conv3x3_s2",
)


def space(classes: int = 3) -> Space:
    return parse_declaration(SPACE, "space.yaml").space(None, 8, 3, classes)


def network(seed: int = 0, design: Architecture = DESIGN) -> Network:
    torch.manual_seed(seed)
    return build_subnet(design).eval()


def saved(path: Path, of: Network) -> Path:
    save_tensors(path, of.state_dict())
    return path


def images(count: int = 2, side: int = 8) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(5))


# -- reading -----------------------------------------------------------------------------------------


def test_weights_are_found_wherever_training_codes_keep_them(tmp_path: Path) -> None:
    weights = network().state_dict()
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    args = argparse.Namespace(lr=1.0)
    contents: dict[str, object] = {
        "plain": weights,
        "model": {"model": weights, "epoch": 3, "args": args},
        "nested": {"state_dict": {"model": wrapped}},
        "averaged": {"state_dict": other, "state_dict_ema": wrapped, "optimizer": {"state": {}}},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
        read = read_weights(tmp_path / name)
        assert read.keys() == weights.keys(), name
        assert all(torch.equal(read[key], weights[key]) for key in weights), name
    (tmp_path / "folder").mkdir()
    saved(tmp_path / "folder" / "model.safetensors", network())
    assert read_weights(tmp_path / "folder").keys() == weights.keys()


class Code:
    """Something that a pickle would have to import."""


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"model": Code()}, tmp_path / "code")
    torch.save({"epoch": 3}, tmp_path / "empty")
    torch.save(network().state_dict(), tmp_path / "whole")
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:3000])
    (tmp_path / "text").write_text("not weights")
    for name, sentence in {
        "absent": "there is no checkpoint",
        "code": "not a torch file of plain weights",
        "empty": "holds no weights by name",
        "half": "truncated or not a torch file",
        "text": "not a torch file",
    }.items():
        with pytest.raises(CheckpointError, match=sentence):
            read_weights(tmp_path / name)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", network())
    wider = replace(DESIGN, stages=(replace(DESIGN.stages[0], blocks=DESIGN.stages[0].blocks[:1]),))
    with pytest.raises(CheckpointError, match=r"a\.safetensors.* unexpected .*blocks\.1\..*another network"):
        read_network(path, wider)


# -- nas import --------------------------------------------------------------------------------------


def test_an_import_can_be_shown_evaluated_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(PUBLISHED, "small", lambda: DESIGN)
    two = replace(DESIGN, num_classes=2)
    original = network(design=two)
    torch.save({"model": original.state_dict()}, tmp_path / "small.pth")
    folder = tmp_path / "out"
    result = import_checkpoint(tmp_path / "small.pth", "small", folder, (), ["nas", "import"])
    assert (result["num_classes"], result["digest"]) == (2, two.digest)
    assert result["max_abs_difference"]["model.py"] <= 1e-5
    assert find_architecture(str(folder)) == two
    assert json.loads((folder / "config.json").read_text())["metrics"]["weights"] == "imported from small.pth"
    again, design = read_network(folder, DESIGN)
    assert design == two
    assert torch.equal(again(images()), original(images()))
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


# -- nas search --init-from --------------------------------------------------------------------------


def test_the_path_of_a_start_gives_its_logits_and_the_rest_stays(tmp_path: Path) -> None:
    original = network()
    start = read_pretrained_start("small", DESIGN, saved(tmp_path / "a.safetensors", original), space())
    torch.manual_seed(1)
    supernet = Supernet(space()).eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    initialize_supernet(supernet, (start,))
    assert start.with_head
    with torch.inference_mode():
        assert (supernet(images(), DESIGN) - original(images())).abs().max() <= 1e-6
    after = supernet.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("stages.0.0.mixers.lsa.") for name in changed)
    assert not any(name.startswith("stages.0.0.mixers.gsa.") for name in changed)
    # The second block's MLP is half as wide in the design: the other half stays.
    assert torch.equal(after["stages.0.1.mlp.fc1.weight"][16:], before["stages.0.1.mlp.fc1.weight"][16:])
    # Paths that coincide in part inherit that part: another window, the same projections.
    wide = Block("lsa", (("window_size", 4),), "cpe", 4)
    path = replace(DESIGN, stages=(replace(DESIGN.stages[0], blocks=(wide, DESIGN.stages[0].blocks[1])),))
    mine, given = supernet.weights(path), original.state_dict()
    assert all(torch.equal(mine[name], given[name]) for name in given)


def test_other_classes_keep_the_supernets_head(tmp_path: Path) -> None:
    original = network()
    start = read_pretrained_start(
        "small", DESIGN, saved(tmp_path / "a.safetensors", original), space(classes=5)
    )
    supernet = Supernet(space(classes=5)).eval()
    head = supernet.ends.head.weight.detach().clone()
    initialize_supernet(supernet, (start,))
    assert not start.with_head
    assert torch.equal(supernet.ends.head.weight, head)
    path = replace(DESIGN, num_classes=5)
    mine, given = supernet.weights(path), original.state_dict()
    assert all(torch.equal(mine[name], given[name]) for name in given if not name.startswith("head."))


def test_the_later_of_two_starts_has_what_both_want(tmp_path: Path) -> None:
    one, two = network(1), network(2)
    files = [saved(tmp_path / f"{n}.safetensors", each) for n, each in enumerate((one, two))]
    supernet = Supernet(space()).eval()
    initialize_supernet(supernet, [read_pretrained_start("small", DESIGN, file, space()) for file in files])
    with torch.inference_mode():
        assert (supernet(images(), DESIGN) - two(images())).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_size": (16, 16)}, r"image_size is \(16, 16\), not \(8, 8\)"),
        ({"stem": "conv3x3_s1"}, "stem is conv3x3_s1, not one of conv3x3_s2"),
        ({"in_channels": 1}, "in_channels is 1, not 3"),
        (
            {"blocks": (Block("lsa", (("window_size", 3),), "cpe"),)},
            "block1.window_size is 3, not one of 2, 4",
        ),
        (
            {"blocks": (Block("lsa", (("window_size", 2),), "rpe"),)},
            "block1.pos is rpe, not one of none, cpe",
        ),
        (
            {"blocks": (Block("lsa", (("window_size", 2),), "cpe", 3),)},
            "block1.mlp_ratio is 3, not one of 2.0, 4.0",
        ),
        (
            {"blocks": (Block("cswin", (("stripe_width", 1),)),)},
            "block1.operator is cswin, not one of lsa, gsa",
        ),
        ({"blocks": DESIGN.stages[0].blocks * 2}, "stage1.depth is 4, not one of 1, 2"),
        ({"dim": 16}, "stage1 has dim 16, not 8"),
    ],
)
def test_a_design_outside_is_refused_by_its_first_difference(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    inside = {name: value for name, value in change.items() if name in ("blocks", "dim")}
    rest = {name: value for name, value in change.items() if name not in inside}
    design = replace(DESIGN, stages=(replace(DESIGN.stages[0], **inside),), **rest)  # type: ignore[arg-type]
    with pytest.raises(
        SpaceError, match=f"--init-from odd is not a point of space 'small'.*: .*{sentence}; choose"
    ):
        read_pretrained_start("odd", design, tmp_path / "absent", space())


def test_training_starts_from_a_start_and_resumes_without_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("ant", "bee", "fly"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(10):
            Image.new("RGB", (8, 8), (20 * shade, 3, 7)).save(tmp_path / "images" / name / f"{shade}.png")
    data = load_data(f"folder:{tmp_path / 'images'}", image_size=8)
    original = network()
    start = read_pretrained_start("small", DESIGN, saved(tmp_path / "a.safetensors", original), space())
    recipe = Recipe(epochs=1, batch_size=64, lr=1e-12)
    settings = Settings(init_from=("twins_svt_small=gone.pth",), recipe=recipe)
    checkpoint, cpu = tmp_path / "checkpoint.safetensors", torch.device("cpu")
    for starts in ((start,), ()):
        supernet = train_supernet(space(), settings, data, checkpoint, cpu, starts)
        with torch.inference_mode():
            assert (supernet(images(), DESIGN) - original(images())).abs().max() <= 1e-4
    with pytest.raises(CheckpointError, match="belongs to another"):
        train_supernet(space(), replace(settings, init_from=()), data, checkpoint, cpu)


def test_settings_keep_and_check_starts(tmp_path: Path) -> None:
    settings = Settings(init_from=("twins_svt_small=a.pth", "cswin_tiny=b.pth"))
    (tmp_path / "study.yaml").write_text(settings.to_yaml())
    assert read_settings(tmp_path / "study.yaml") == settings
    with pytest.raises(RequestError, match="must be NAME=FILE"):
        Settings(init_from=("a.pth",))
    with pytest.raises(ArchitectureError, match="did you mean 'cswin_tiny'"):
        Settings(init_from=("cswin_tin=b.pth",))


TWINS = """
name: around_twins_svt_small
blocks:
  mlp_ratio: [4]
  operators:
    lsa: {window_size: [7], pos: [none, cpe]}
    gsa: {sr_ratio: [1], pos: [none, cpe]}
scales:
  full:
    images: 224
    stem: patch4x4
    stages:
      - {dim: 64, num_heads: 2, depth: [2], operators: {gsa: {sr_ratio: [4, 8]}}}
      - {dim: 128, num_heads: 4, depth: [2], downsample: conv2x2, operators: {gsa: {sr_ratio: [2, 4]}}}
      - {dim: 256, num_heads: 8, depth: [10], downsample: conv2x2, operators: {gsa: {sr_ratio: [1, 2]}}}
      - {dim: 512, num_heads: 16, depth: [2, 4], downsample: conv2x2}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "declaration"),
    [
        ("twins_svt_small", "twins_svt_small", parse_declaration(TWINS, "space.yaml")),
        ("swin_tiny", "swin_tiny_patch4_window7_224", load_declaration("local_vit_ablation")),
    ],
)
def test_a_supernet_at_full_size_gives_timms_logits(
    name: str, theirs: str, declaration: Declaration, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    original = timm.create_model(theirs).eval()
    torch.save(original.state_dict(), tmp_path / "checkpoint.pth")
    around, design = declaration.space(None, 224, 3, 1000), published(name)
    supernet = Supernet(around).eval()
    initialize_supernet(supernet, (read_pretrained_start(name, design, tmp_path / "checkpoint.pth", around),))
    with torch.inference_mode():
        assert (supernet(images(1, 224), design) - original(images(1, 224))).abs().max() <= 1e-4
