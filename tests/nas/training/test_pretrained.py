"""Supernets start from published networks, and designs outside their space are refused in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from nas.data.dataset import load_data
from nas.study.recipe import Recipe
from nas.study.settings import Settings, read_settings
from nas.training.pretrained import initialize_supernet, read_pretrained_start
from search_spaces.architecture import Block
from search_spaces.declaration import Declaration, load_declaration, parse_declaration
from search_spaces.errors import ArchitectureError, CheckpointError, RequestError, SpaceError
from search_spaces.published import published
from supernet.subnet import build_subnet
from supernet.supernet import Supernet
from tests.helpers.small_network import SMALL_DESIGN, random_images, save_weights, small_network, small_space
from tests.helpers.training import train_supernet


def test_the_path_of_a_start_gives_its_logits_and_other_weights_stay(tmp_path: Path) -> None:
    original = small_network()
    start = read_pretrained_start(
        "small", SMALL_DESIGN, save_weights(tmp_path / "a.safetensors", original), small_space()
    )
    torch.manual_seed(1)
    supernet = Supernet(small_space()).eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    initialize_supernet(supernet, (start,))
    assert start.with_head
    with torch.inference_mode():
        assert (supernet(random_images(), SMALL_DESIGN) - original(random_images())).abs().max() <= 1e-6
    after = supernet.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("stages.0.0.mixers.lsa.") for name in changed)
    assert not any(name.startswith("stages.0.0.mixers.gsa.") for name in changed)
    # The second block's MLP is half as wide in the design: the other half stays.
    assert torch.equal(after["stages.0.1.mlp.fc1.weight"][16:], before["stages.0.1.mlp.fc1.weight"][16:])
    # Paths that coincide in part inherit that part: another window, the same projections.
    wide = Block("lsa", (("window_size", 4),), "cpe", 4)
    path = replace(
        SMALL_DESIGN,
        stages=(replace(SMALL_DESIGN.stages[0], blocks=(wide, SMALL_DESIGN.stages[0].blocks[1])),),
    )
    mine, given = supernet.weights(path), original.state_dict()
    assert all(torch.equal(mine[name], given[name]) for name in given)


def test_other_classes_keep_the_supernets_head(tmp_path: Path) -> None:
    original = small_network()
    start = read_pretrained_start(
        "small", SMALL_DESIGN, save_weights(tmp_path / "a.safetensors", original), small_space(classes=5)
    )
    supernet = Supernet(small_space(classes=5)).eval()
    head = supernet.ends.head.weight.detach().clone()
    initialize_supernet(supernet, (start,))
    assert not start.with_head
    assert torch.equal(supernet.ends.head.weight, head)
    path = replace(SMALL_DESIGN, num_classes=5)
    mine, given = supernet.weights(path), original.state_dict()
    assert all(torch.equal(mine[name], given[name]) for name in given if not name.startswith("head."))


def test_the_later_of_two_starts_wins_where_both_set_a_weight(tmp_path: Path) -> None:
    one, two = small_network(1), small_network(2)
    files = [save_weights(tmp_path / f"{n}.safetensors", each) for n, each in enumerate((one, two))]
    supernet = Supernet(small_space()).eval()
    initialize_supernet(
        supernet, [read_pretrained_start("small", SMALL_DESIGN, file, small_space()) for file in files]
    )
    with torch.inference_mode():
        assert (supernet(random_images(), SMALL_DESIGN) - two(random_images())).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_size": (16, 16)}, r"image_size is \(16, 16\), not \(8, 8\)"),
        ({"stem": "conv3x3_s1"}, "stem is conv3x3_s1, not one of conv3x3_s2"),
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
        ({"blocks": SMALL_DESIGN.stages[0].blocks * 2}, "stage1.depth is 4, not one of 1, 2"),
        ({"dim": 16}, "stage1 has dim 16, not 8"),
    ],
)
def test_a_design_outside_the_space_is_refused_by_its_first_difference(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    inside = {name: value for name, value in change.items() if name in ("blocks", "dim")}
    rest = {name: value for name, value in change.items() if name not in inside}
    design = replace(SMALL_DESIGN, stages=(replace(SMALL_DESIGN.stages[0], **inside),), **rest)  # type: ignore[arg-type]
    with pytest.raises(
        SpaceError, match=f"--init-from odd is not a point of space 'small'.*: .*{sentence}; choose"
    ):
        read_pretrained_start("odd", design, tmp_path / "absent", small_space())


def test_training_starts_from_a_start_and_resumes_without_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("ant", "bee", "fly"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(10):
            Image.new("RGB", (8, 8), (20 * shade, 3, 7)).save(tmp_path / "images" / name / f"{shade}.png")
    data = load_data(f"folder:{tmp_path / 'images'}", image_size=8)
    original = small_network()
    start = read_pretrained_start(
        "small", SMALL_DESIGN, save_weights(tmp_path / "a.safetensors", original), small_space()
    )
    recipe = Recipe(epochs=1, batch_size=64, lr=1e-12)
    settings = Settings(init_from=("twins_svt_small=gone.pth",), recipe=recipe)
    checkpoint, cpu = tmp_path / "checkpoint.safetensors", torch.device("cpu")
    for starts in ((start,), ()):
        supernet = train_supernet(small_space(), settings, data, checkpoint, cpu, starts)
        with torch.inference_mode():
            assert (supernet(random_images(), SMALL_DESIGN) - original(random_images())).abs().max() <= 1e-4
    with pytest.raises(CheckpointError, match="belongs to another"):
        train_supernet(small_space(), replace(settings, init_from=()), data, checkpoint, cpu)


def test_settings_store_and_check_starts(tmp_path: Path) -> None:
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
        assert (supernet(random_images(1, 224), design) - original(random_images(1, 224))).abs().max() <= 1e-4


def test_a_checkpoint_for_other_channels_is_refused(tmp_path: Path) -> None:
    gray = build_subnet(replace(SMALL_DESIGN, in_channels=1))
    file = save_weights(tmp_path / "gray.safetensors", gray)
    with pytest.raises(CheckpointError, match="images of 1 channels but the study's have 3"):
        read_pretrained_start("small", SMALL_DESIGN, file, small_space())
