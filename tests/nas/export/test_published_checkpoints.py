"""Published weights give published numbers: timm's networks and the papers' own, loaded into ours."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs
from search_spaces.errors import CheckpointError
from search_spaces.published import PUBLISHED, published
from supernet.block import Block as BlockModule
from supernet.block import Stage as StageModule
from supernet.checkpoints import count_classes, load_network, recognise_naming, translate_checkpoint
from supernet.ffn import FeedForward
from supernet.network import Network
from supernet.operators.swin import ShiftedWindowAttention
from supernet.stem import ConvStem, PatchMerging
from supernet.subnet import build_subnet
from tests.reference import networks

FOLDER = Path(os.environ.get("NAS_REFERENCE_DIR") or Path(__file__).parents[4] / "shared" / "reference")
TWINS = [name for name in PUBLISHED if name.startswith("twins_")]
SWIN = [name for name in PUBLISHED if name.startswith("swin_")]
#: Names of timm's networks by ours.
TIMM = {**{name: name for name in TWINS}, **{name: f"{name}_patch4_window7_224" for name in SWIN}}


def shaken(network: nn.Module) -> nn.Module:
    """Make every weight random: many start at zero or one and would hide what is swapped."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


# -- timm, at full size ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm_counts_the_same(name: str) -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = timm.create_model(TIMM[name]).eval()
        network(torch.zeros(1, 3, 224, 224))
    found = costs(published(name))
    assert sum(parameter.numel() for parameter in network.parameters()) == found.params
    assert counter.get_total_flops() == 2 * found.macs


@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small", "swin_tiny"])
@torch.inference_mode()
def test_timm_gives_the_same_logits_at_full_size(name: str) -> None:
    torch.manual_seed(0)
    theirs = shaken(timm.create_model(TIMM[name]))
    ours = load_network(published(name), translate_checkpoint(theirs.state_dict()))
    x = images(1, 3, 224, 224)
    assert (ours(x) - theirs(x)).abs().max() <= 1e-4


# -- Swin, reduced -----------------------------------------------------------------------------------


def small_swin() -> nn.Module:
    torch.manual_seed(0)
    return shaken(
        timm.models.SwinTransformer(
            img_size=56, window_size=7, embed_dim=16, depths=(2, 2), num_heads=(2, 4), num_classes=5
        )
    )


def swin_stage(dim: int, heads: int, shifts: tuple[int, ...], before: int | None) -> StageModule:
    blocks = [
        BlockModule(
            ShiftedWindowAttention(dim, heads, 7, shift),
            FeedForward(dim, 4 * dim),
            nn.LayerNorm(dim),
            nn.LayerNorm(dim),
        )
        for shift in shifts
    ]
    return StageModule(blocks, None if before is None else PatchMerging(before, dim))


@torch.inference_mode()
def test_swin_of_timm_loads_into_our_modules() -> None:
    theirs = small_swin()
    # One window covers the second stage's 7x7 map: nothing is shifted there.
    stages = [swin_stage(16, 2, (0, 3), None), swin_stage(32, 4, (0, 0), 16)]
    ours = Network(ConvStem(3, 16, 4, 4, 0), stages, (16, 32), (4, 8), 5, norm_eps=1e-5)
    ours.load_state_dict(translate_checkpoint(theirs.state_dict()))
    x = images(1, 3, 56, 56)
    assert (ours.eval()(x) - theirs(x)).abs().max() <= 1e-5


def test_swin_of_its_authors_is_named_otherwise_and_translated_alike() -> None:
    theirs = small_swin().state_dict()
    official = {
        re.sub(r"^layers\.1\.downsample", "layers.0.downsample", name).replace("head.fc.", "head."): value
        for name, value in theirs.items()
    }
    official["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    official["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    assert recognise_naming(official) != recognise_naming(theirs)
    one, other = translate_checkpoint(official), translate_checkpoint(theirs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# -- the papers' own code, reduced -------------------------------------------------------------------


def architecture_of(about: dict[str, Any]) -> Architecture:
    """Return the design of a reference network."""
    a, kind = about["arguments"], about["class_name"].split()[0]
    if kind == "DWNet":
        form = "inhomogeneous" if a.get("inhomogeneous") else "homogeneous" if a.get("dynamic") else "none"
        return networks.dwnet(a, form)
    builders = {"Refiner_ViT": networks.refiner, "CSWinTransformer": networks.cswin}
    return builders.get(kind, networks.twins)(a)


@pytest.mark.parametrize(
    "name",
    [
        "net_twins_svt",
        "net_twins_svt_128",
        "net_twins_pcpvt",
        "net_twins_pcpvt_64x96",
        "net_cswin",
        "net_cswin_fullstage3",
        "net_dwnet",
        "net_dwnet_dynamic",
        "net_dwnet_inhomo",
        "net_refiner_cnn",
    ],
)
@torch.inference_mode()
def test_weights_of_the_papers_code_give_its_logits(name: str) -> None:
    if not (FOLDER / "index.json").is_file():
        pytest.skip(f"no reference cases: {FOLDER / 'index.json'} is absent; set NAS_REFERENCE_DIR")
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    about = next(about for about in index if about["name"] == name)
    tensors = load_file(FOLDER / about["file"])
    original = {key.removeprefix("weights."): v for key, v in tensors.items() if key.startswith("weights.")}
    network = load_network(architecture_of(about), translate_checkpoint(original))
    difference = (network(tensors["input"]) - tensors["output"]).abs().max()
    assert difference <= max(1e-5, 3 * about["float64_max_abs_diff"])


# -- what does not match -----------------------------------------------------------------------------

SMALL = Architecture(
    (Stage(8, 2, (Block("lsa", (("window_size", 2),)),)),),
    image_size=(8, 8),
    num_classes=3,
    stem="conv3x3_s2",
)


def test_our_own_names_pass_as_they_are() -> None:
    state = build_subnet(SMALL).state_dict()
    assert translate_checkpoint(state).keys() == state.keys()
    assert count_classes(state) == 3


def test_every_mismatch_is_counted_and_named() -> None:
    state = build_subnet(SMALL).state_dict()
    state["head.bias"] = state["head.bias"][:2]
    state["stages.0.blocks.0.extra"] = torch.zeros(1)
    state["norm.weight"] = torch.full_like(state["norm.weight"], float("nan"))
    del state["stem.conv.bias"]
    with pytest.raises(CheckpointError) as caught:
        load_network(SMALL, state)
    for part in (
        "1 missing (stem.conv.bias)",
        "1 unexpected (stages.0.blocks.0.extra)",
        "1 of another shape (head.bias is 2, not 3)",
        "1 not finite (norm.weight)",
    ):
        assert part in str(caught.value)


def test_half_precision_becomes_single() -> None:
    network = build_subnet(SMALL)
    half = {name: value.half() for name, value in network.state_dict().items()}
    assert {p.dtype for p in load_network(SMALL, half).parameters()} == {torch.float32}


def test_unknown_names_and_missing_heads_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"first: 'features\.0\.weight'.*Twins"):
        translate_checkpoint({"features.0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no classifier"):
        count_classes({"norm.weight": torch.zeros(1)})


def test_parts_that_do_not_fit_together_are_refused() -> None:
    odd = {
        "stage1_conv_embed.0.weight": torch.zeros(1),
        "stage1.0.attns.0.get_v.weight": torch.zeros(4, 1, 3, 3),
        "stage1.0.attns.1.get_v.weight": torch.zeros(4, 1, 5, 5),
    }
    with pytest.raises(CheckpointError, match=r"stages\.0\.blocks\.0\.mixer\.lepe\.weight"):
        translate_checkpoint(odd)


def test_classes_are_those_of_the_head() -> None:
    design = replace(SMALL, num_classes=7)
    state = build_subnet(design).state_dict()
    assert load_network(replace(SMALL, num_classes=count_classes(state)), state).head.out_features == 7
