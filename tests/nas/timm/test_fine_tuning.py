"""What timm's training script asks of a model: rates that fall with depth, tables that do not decay, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

import nas.timm  # noqa: F401  # registers the network
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.skeleton import Style
from supernet.subnet import build_subnet
from tests.helpers.exports import BLOCK, PYRAMID, smooth_image, write_export
from tests.helpers.modules import randomised
from tests.supernet.test_network import TOKEN

TWO_BLOCKS = replace(PYRAMID, stages=(replace(PYRAMID.stages[0], blocks=(BLOCK, BLOCK)), *PYRAMID.stages[1:]))
SHARED = Block("refiner", (("maps", "shared"), ("expand_ratio", 1), ("kernel_size", 3)))
SHARING = replace(TOKEN, stages=(Stage(8, 2, (Block("refiner", (("maps", "plain"),)), SHARED)),))
DESIGNS = {
    "pyramid": TWO_BLOCKS,
    "token": replace(TOKEN, style=Style(head="dense_token")),
    "sharing": SHARING,
}
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def groups_of(design: Architecture, **arguments: Any) -> dict[str, tuple[float, float]]:
    """Return the share of the rate and the decay that each parameter gets."""
    model = build_subnet(design)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1.0, weight_decay=0.05, **arguments)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group.get("lr_scale", 1.0), group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found.keys() == set(names.values())
    return found


def test_rates_fall_by_a_factor_for_every_block() -> None:
    scales = {name: scale for name, (scale, _) in groups_of(TWO_BLOCKS, layer_decay=0.5).items()}
    depth = {
        "head.": 0, "norm.": 1, "stages.2.blocks.0.": 1, "stages.2.downsample.": 1, "stages.1.blocks.0.": 2,
        "stages.1.downsample.": 2, "stages.0.blocks.1.": 3, "stages.0.blocks.0.": 4, "stem.": 5,
    }  # fmt: skip
    for start, layers in depth.items():
        of_layer = {scale for name, scale in scales.items() if name.startswith(start)}
        assert of_layer == {0.5**layers}, start
    assert all(name.startswith(tuple(depth)) for name in scales)


def test_a_token_network_falls_from_both_classifiers_to_the_token() -> None:
    scales = {name: scale for name, (scale, _) in groups_of(DESIGNS["token"], layer_decay=0.5).items()}
    assert {scales[f"{name}.weight"] for name in ("head", "aux_head")} == {1.0}
    assert {scales["stem.token"], scales["stem.table"], scales["stem.patches.conv1.weight"]} == {0.25}
    assert scales["norm.weight"] == scales["stages.0.blocks.0.mlp.fc1.weight"] == 0.5


def test_a_coarse_layer_is_a_stage() -> None:
    model = build_subnet(TWO_BLOCKS)
    layers = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert (layers["stem.conv.weight"], layers["head.bias"]) == (0, 4)
    assert layers["stages.0.blocks.0.norm1.weight"] == layers["stages.0.blocks.1.norm1.weight"] == 1
    assert layers["norm.weight"] == layers["stages.2.downsample.norm.bias"] == 3


@pytest.mark.parametrize("design", DESIGNS)
def test_tables_tokens_norms_and_biases_do_not_decay(design: str) -> None:
    decays = {name: decay for name, (_, decay) in groups_of(DESIGNS[design]).items()}
    free = {name for name, decay in decays.items() if decay == 0}
    assert {name for name in decays if name.endswith(("table", "token"))} <= free
    assert {name for name in decays if name.endswith("bias")} <= free
    kernels = {
        name for name in decays if name.endswith(("fc1.weight", "qkv.weight", "conv.weight", "head.weight"))
    }
    assert kernels and {decays[name] for name in kernels} == {0.05}


@pytest.mark.parametrize("design", DESIGNS)
def test_checkpointed_gradients_are_the_same(design: str) -> None:
    model = randomised(build_subnet(DESIGNS[design])).eval()  # as if in training: nothing of these is drawn
    runs: list[int] = []
    for module in model.modules():
        if hasattr(module, "fc1"):
            module.register_forward_pre_hook(lambda *_: runs.append(1))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        runs.clear()
        model(IMAGES).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    plain, blocks = gradients(), len(runs)
    model.set_grad_checkpointing(True)
    again = gradients()
    assert len(runs) == 2 * blocks and len(plain) == len(again) > 0
    assert all(torch.equal(x, y) for x, y in zip(plain, again, strict=True))
    model.set_grad_checkpointing(False)
    gradients()
    assert len(runs) == blocks


# timm leaves the files of its images to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_training_as_its_script_does_it(tmp_path: Path) -> None:
    """The calls of ``train.py`` in its order, for another number of classes, on red and blue images."""
    torch.manual_seed(0)
    write_export(tmp_path / "model")
    for number in range(16):
        colour = ("red", "blue")[number % 2]
        folder = tmp_path / "images" / colour
        folder.mkdir(parents=True, exist_ok=True)
        image = smooth_image(40, 40, seed=number)
        Image.blend(image, Image.new("RGB", image.size, colour), 0.6).save(folder / f"{number}.png")
    model: Any = timm.create_model(
        f"local-dir:{tmp_path / 'model'}", num_classes=2, drop_rate=0.0, drop_path_rate=0.05
    )
    model.set_grad_checkpointing(enable=True)
    config = resolve_data_config({}, model=model)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-2, weight_decay=0.05, layer_decay=0.75)
    average = ModelEmaV3(model, decay=0.5)
    loader = create_loader(
        create_dataset("", root=str(tmp_path / "images"), split="train", is_training=True),
        input_size=config["input_size"], batch_size=8, is_training=True, use_prefetcher=False, num_workers=0,
        scale=(0.8, 1.0), mean=config["mean"], std=config["std"], interpolation=config["interpolation"],
    )  # fmt: skip
    schedule, epochs = create_scheduler_v2(
        optimizer, num_epochs=12, warmup_epochs=0, updates_per_epoch=len(loader), step_on_epochs=False
    )
    loss_of, losses, updates = LabelSmoothingCrossEntropy(0.1), [], 0
    model.train()
    for _ in range(epochs):
        for images, labels in loader:
            loss = loss_of(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(model)
            updates += 1
            schedule.step_update(num_updates=updates)
            losses.append(loss.item())
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
    average.eval()
    with torch.no_grad():
        assert all(torch.isfinite(average(images)).all() for images, _ in loader)
    rates = {group["lr_scale"]: group["lr"] for group in optimizer.param_groups}
    assert rates[0.75**4] == pytest.approx(0.75**4 * rates[1.0])
