"""Styles, class tokens and handed attention maps: path == subnet == exported source, at the declared cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest
import torch

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import OperatorChoices, StageChoices
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.walk import walk_blocks
from search_spaces.widths import CombinedWidths
from supernet.source import model_source
from supernet.subnet import backbone_blueprint, build_subnet, network_blueprint
from supernet.supernet import Supernet
from tests.helpers.modules import counted_macs, executed, randomised, uncounted_macs

REFINER = Style(mlp_scale=True, residual_scale=0.5, stem_norm=False, head="dense_token")
MAPS = ("refined", "plain", "previous", "plain_previous", "shared")
CHOICES = OperatorChoices(
    "refiner", (("maps", MAPS), ("expand_ratio", (1, 2)), ("kernel_size", (1, 3))), ("none",)
)


def space(style: Style = REFINER, pos: tuple[str, ...] = ("none",)) -> Space:
    stage = StageChoices(CombinedWidths((12,), (3,)), (1, 4), (replace(CHOICES, pos=pos),), (1.0, 2.0))
    return Space("small", "one", (stage,), ("patch8x8", "refiner8x8"), ((32, 24),), 3, 5, style)


STYLES = {
    "refiner": REFINER,
    "token": Style(head="token"),
    "scaled": Style(mlp_scale=True, residual_scale=0.5),
    "bare": Style(stem_norm=False, qkv_bias=False, mixer_norm="none", mlp_norm="batch"),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_path_subnet_source_and_cost_agree(style: str, seed: int) -> None:
    pos = ("none",) if STYLES[style].class_token else ("none", "rpe", "cpe")
    chosen = space(STYLES[style], pos)
    supernet = randomised(Supernet(chosen)).eval()
    design = chosen.sample(Random(seed), "architectures")
    images = torch.randn(2, 3, 32, 24)
    network = supernet.extract(design)
    logits = network(images)
    torch.testing.assert_close(supernet(images, design), logits, rtol=0, atol=1e-5)
    exported = executed(model_source(design, (0.5,) * 3, (0.2,) * 3, "A design"))["create_model"]().eval()
    exported.load_state_dict(network.state_dict())
    torch.testing.assert_close(exported(images), logits, rtol=0, atol=1e-5)
    found = costs(design)
    assert found.params == sum(parameter.numel() for parameter in network.parameters())
    assert found.macs == counted_macs(network, images[:1])


def test_gradients_flow_through_shared_maps() -> None:
    chosen = space()
    supernet = Supernet(chosen).train()
    blocks = tuple(
        Block("refiner", (("maps", maps), ("expand_ratio", 2), ("kernel_size", 3)))
        if maps in ("refined", "previous", "shared")
        else Block("refiner", (("maps", maps),))
        for maps in ("plain", "shared", "plain_previous", "shared")
    )
    design = replace(chosen.smallest, stages=(Stage(12, 3, tuple(replace(b, mlp_ratio=2) for b in blocks)),))
    supernet(torch.randn(2, 3, 32, 24), design).square().sum().backward()
    for name, weight in supernet.weights(design).items():
        assert not weight.requires_grad or weight.isfinite().all(), name
    first = supernet.stages[0][0].mixers["refiner"].projections.qkv.weight  # type: ignore[index]
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_every_draw_is_valid_and_counted_once() -> None:
    stage = StageChoices(
        CombinedWidths((12,), (3,)), (1, 2), (replace(CHOICES, pos=("none", "rpe")),), (1.0,)
    )
    chosen = Space("small", "one", (stage,), ("patch8x8",), ((32, 24),), 3, 5)
    names, options = [c.name for c in chosen.choices], [c.options for c in chosen.choices]
    found = {chosen.assemble(dict(zip(names, values, strict=True))).digest for values in product(*options)}
    # Starters: 4 refined, 1 plain, each with two encodings; followers: 8 more refined or shared, 1 plain.
    first_blocks, others = 2 * (4 + 1), 2 * (4 + 1) + 2 * (4 + 1) + 4
    assert chosen.size == first_blocks + first_blocks * others
    assert len(found) == chosen.size
    rng = Random(0)
    for number in range(50):
        design = chosen.sample(rng, "architectures" if number % 2 else "choices")
        assert chosen.contains(design)
        assert chosen.assemble(chosen.values(design)) == design
        assert chosen.contains(chosen.mutate(design, rng))
    assert chosen.contains(chosen.smallest) and chosen.contains(chosen.largest)


def test_a_default_knob_is_not_spelled() -> None:
    knobs = (("expand_ratio", 2), ("kernel_size", 3))
    assert Block("refiner", (*knobs, ("maps", "refined"))) == Block("refiner", knobs)
    assert "maps" not in Block("refiner", knobs).to_json()
    assert str(Block("refiner", (("maps", "plain"),))) == "refiner(plain)·4"


@pytest.mark.parametrize(
    ("stages", "style", "message"),
    [
        (
            [["shared"]],
            Style(),
            "stage1.block1: refiner.* takes the attention maps of the block before, and there",
        ),
        ([["lsa", "shared"]], Style(), r"stage1.block2: .*and lsa\(w2\)·4 hands none on"),
        ([["lsa"]], Style(head="token"), "stage1.block1: a class token has no place on the map that 'lsa'"),
        ([["own"], ["own"]], Style(head="token"), "asks for a single stage, not 2"),
    ],
)
def test_what_cannot_hand_maps_or_hold_tokens_is_refused(
    stages: list[list[str]], style: Style, message: str
) -> None:
    known = {
        "lsa": Block("lsa", (("window_size", 2),)),
        "own": Block("refiner", (("maps", "plain"),)),
        "shared": Block("refiner", (("maps", "shared"), ("expand_ratio", 1), ("kernel_size", 3))),
    }
    rows = [tuple(known[name] for name in row) for row in stages]
    with pytest.raises(ArchitectureError, match=message):
        Architecture(
            tuple(Stage(8, 2, row, "conv2x2" if i else None) for i, row in enumerate(rows)),
            (32, 32),
            style=style,
        )


def test_a_space_where_maps_may_be_missing_is_refused() -> None:
    lsa = OperatorChoices("lsa", (("window_size", (2,)),), ("none",))
    mixed = StageChoices(CombinedWidths((12,), (3,)), (2,), (CHOICES, lsa), (1.0,))
    with pytest.raises(SpaceError, match="which may be 'lsa' and hand none on"):
        Space("small", "one", (mixed,), ("patch8x8",), ((32, 32),))
    alone = StageChoices(
        CombinedWidths((12,), (3,)),
        (2,),
        (replace(CHOICES, knobs=(("maps", ("shared",)), *CHOICES.knobs[1:])),),
        (1.0,),
    )
    with pytest.raises(SpaceError, match="no option suits the first block"):
        Space("small", "one", (alone,), ("patch8x8",), ((32, 32),))


@pytest.mark.parametrize("norms", [False, True])
@torch.no_grad()
def test_a_backbone_returns_the_maps_of_its_stages(norms: bool) -> None:
    design = load_declaration("twins_cswin").space("nano", 28).smallest
    backbone = randomised(backbone_blueprint(design, norms).build()).eval()
    maps = backbone(torch.randn(1, 3, 40, 52))
    assert [x.shape[1] for x in maps] == [stage.dim for stage in design.stages]
    network = network_blueprint(design).build().eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    if not norms:
        torch.manual_seed(0)
        images = torch.randn(1, 3, 40, 52)
        for ours, given in zip(
            backbone(images), network.forward_intermediates(images, intermediates_only=True), strict=True
        ):
            assert torch.equal(ours, given)


@pytest.mark.parametrize("name", ["local_vit_ablation", "refiner_vit"])
@torch.no_grad()
def test_the_nano_scale_of_a_space_runs(name: str) -> None:
    chosen = load_declaration(name).space("nano", 28, 1, 10)
    supernet = Supernet(chosen).eval()
    images = torch.randn(2, 1, 28, 28)
    for seed in range(3):
        design = chosen.sample(Random(seed))
        found, network = costs(design), supernet.extract(design)
        torch.testing.assert_close(supernet(images, design), network(images), rtol=0, atol=1e-5)
        missed = sum(uncounted_macs(part.block, part.feature_map) for part in walk_blocks(design))
        assert found.macs == counted_macs(network, images[:1]) + missed
    assert build_subnet(chosen.largest)(images).shape == (2, 10)
