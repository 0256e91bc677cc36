"""Our networks against timm's, with the same weights."""

from __future__ import annotations

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
from supernet.block import Network
from supernet.checkpoints import load_network, translate_checkpoint

#: Our name and timm's.
TWINS = (("twins_svt_small", "twins_svt_small"), ("swin_tiny", "swin_tiny_patch4_window7_224"))
_TARGETS = {"cpu": Target(1.0), "cuda": Target(1.1)}


def bench(setup: Setup, pairs: Sequence[tuple[str, str]] = TWINS) -> list[Measurement]:
    """Return two measurements a network, inference and training step.

    Raises:
        WorkError: If the two sides do not give the same logits.
    """
    return [one for ours, theirs in pairs for one in _measure_pair(ours, theirs, setup)]


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


def _measure_pair(name: str, timm_name: str, setup: Setup) -> list[Measurement]:
    image_size = setup.pick(setup.image_size, 224, 224, 224)
    batch = setup.pick(setup.batch_size, 4, 128, 1)
    networks = [network.to(setup.device) for network in build_pair(name, timm_name, image_size)]
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
                against=f"timm {metadata.version('timm')} {timm_name}",
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
