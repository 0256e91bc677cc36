"""Our networks against timm's, and against their operators' plain formulations, with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.bench.comparison import (
    Side,
    check_agreement,
    full_float32,
    inference_side,
    random_inputs,
    time_in_turn,
)
from nas.bench.measurement import NO_MORE_MEMORY, Measurement, Target, compare_times
from nas.bench.memory import measure_peaks
from nas.bench.setup import Setup
from nas.runtime.device import autocast
from search_spaces.cost import costs
from search_spaces.published import published
from supernet.block import Block
from supernet.checkpoints import load_network, translate_checkpoint
from supernet.network import Network
from supernet.operators import mixer
from supernet.subnet import build_subnet

#: Our name and timm's.
TWINS = (("twins_svt_small", "twins_svt_small"), ("swin_tiny", "swin_tiny_patch4_window7_224"))
#: Designs that timm has no network of: their operators run by the plain formulation, as in their authors' code.
PLAIN = ("cswin_tiny",)
_TARGETS = {"cpu": Target(1.0), "cuda": Target(1.1)}


class PlainMixer(nn.Module):
    """An operator's module, computed by the operator's plain formulation.

    Args:
        module: The operator's static module.
        operator: The operator.
    """

    def __init__(self, module: nn.Module, operator: str) -> None:
        super().__init__()
        self.module = module
        self.plain = mixer(operator).plain

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape."""
        return self.plain(self.module, x)


def bench(
    setup: Setup, pairs: Sequence[tuple[str, str]] = TWINS, plain: Sequence[str] = PLAIN
) -> list[Measurement]:
    """Return two measurements a network, inference and training step.

    Args:
        setup: Sizes and device.
        pairs: Published designs and what timm calls them.
        plain: Published designs to compare with their operators' plain formulations.

    Raises:
        WorkError: If the two sides do not give the same logits.
    """
    image_size = setup.pick(setup.image_size, 224, 224, 224)
    version, measurements = metadata.version("timm"), []
    for name, timm_name in pairs:
        networks = build_pair(name, timm_name, image_size)
        measurements += _measure_pair(name, networks, f"timm {version} {timm_name}", image_size, setup)
    for name in plain:
        networks = build_plain_pair(name, image_size)
        measurements += _measure_pair(name, networks, "plain formulation", image_size, setup)
    return measurements


def build_pair(name: str, timm_name: str, image_size: int) -> tuple[Network, nn.Module]:
    """Return our network and timm's with the same random weights.

    Args:
        name: Of the published design.
        timm_name: What timm calls it.
        image_size: Side of the images.
    """
    import timm  # brings torch's compiler, which sets an environment variable when it is imported

    torch.manual_seed(0)
    size = {"img_size": image_size} if image_size != 224 else {}
    # timm gives Swin stochastic depth by default, ours has none by default.
    theirs: nn.Module = timm.create_model(timm_name, pretrained=False, drop_path_rate=0.0, **size)
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            if key.endswith("bias_table"):
                value.normal_(std=0.02)
    design = replace(published(name), image_size=(image_size, image_size))
    return load_network(design, translate_checkpoint(theirs.state_dict())), theirs


def build_plain_pair(name: str, image_size: int) -> tuple[Network, nn.Module]:
    """Return a published network and the same with all operators in their plain formulation.

    Args:
        name: Of the published design.
        image_size: Side of the images.
    """
    torch.manual_seed(0)
    design = replace(published(name), image_size=(image_size, image_size))
    ours = build_subnet(design)
    theirs = copy.deepcopy(ours)
    blocks = [module for module in theirs.modules() if isinstance(module, Block)]
    operators = [block.operator for stage in design.stages for block in stage.blocks]
    for block, operator in zip(blocks, operators, strict=True):
        block.mixer = PlainMixer(block.mixer, operator)
    return ours, theirs


def _measure_pair(
    name: str, networks: Sequence[nn.Module], against: str, image_size: int, setup: Setup
) -> list[Measurement]:
    """Return the measurements of our network, the first of two, and the other."""
    batch = setup.pick(setup.batch_size, 4, 128, 1)
    networks = [network.to(setup.device) for network in networks]
    inputs = random_inputs((batch, 3, image_size, image_size), setup)
    cost = costs(replace(published(name), image_size=(image_size, image_size)))
    measurements = []
    for training in (False, True):
        kind = "training step" if training else "inference"
        for network in networks:
            network.train(training)
        with full_float32(), torch.no_grad():
            difference = check_agreement(networks[0](inputs[0]), networks[1](inputs[0]), name)
        sides = [
            _training_side(network, batch, setup) if training else inference_side(network)
            for network in networks
        ]
        ours, theirs = time_in_turn(sides, inputs, setup, setup.pick_rounds(7))
        times = 3 if training else 1
        details: dict[str, Any] = {
            "macs": times * batch * cost.macs,
            "bytes": times * 4 * (cost.params + inputs[0].numel()),
            "peak_bytes": measure_peaks(sides, inputs[0], setup),
            "max_abs_difference": difference,
        }
        measurements.append(
            compare_times(
                f"{name} at {image_size} px, {kind}",
                ours,
                theirs,
                batch,
                against=against,
                target=_TARGETS[setup.device.type],
                memory_target=NO_MORE_MEMORY,
                details=details,
            )
        )
    return measurements


def _training_side(network: nn.Module, batch: int, setup: Setup) -> Side:
    labels = torch.arange(batch, device=setup.device) % 10

    def side(images: Tensor) -> Tensor:
        with autocast(images.device):
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        network.zero_grad(set_to_none=True)
        return loss

    return side
