"""Our operators against their plain formulations, on the maps of the papers' networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.bench.comparison import Side, check_agreement, inference_side, random_inputs, time_in_turn
from nas.bench.measurement import NO_MORE_MEMORY, Measurement, Target, compare_times
from nas.bench.memory import count_copies, measure_peaks, name_sides
from nas.bench.setup import Setup
from nas.runtime.device import autocast
from search_spaces.architecture import Block
from search_spaces.errors import RequestError
from search_spaces.operators import Cost, FeatureMap
from search_spaces.skeleton import Style
from supernet.operators import mixer
from supernet.operators.cswin import plain_by_stripe
from supernet.subnet import initialise

_PLAIN = "plain formulation"
_MULTIPLE = 112  # of the image's side: windows of 7 divide the maps of the first three stages


@dataclass(frozen=True)
class Case:
    """An operator of a published network.

    Args:
        block: The operator and its knobs.
        stage: Stage of its map, from 0.
        dim: Channels.
        num_heads: Heads.
        other: The same by other means, ``(module, map) -> map``; the operator's plain formulation if left out.
        against: What that is.
        target: What the throughput ratio should reach on a CPU.
    """

    block: Block
    stage: int
    dim: int
    num_heads: int
    other: Callable[[Any, Tensor], Tensor] | None = None
    against: str = _PLAIN
    target: Target | None = None

    def feature_map(self, image_size: int) -> FeatureMap:
        """Return the map for images of ``image_size`` px."""
        side = image_size // 4 // 2**self.stage
        return FeatureMap(self.dim, self.num_heads, side, side)


def _dwconv(dynamic: str) -> Block:
    return Block("dwconv", (("kernel_size", 7), ("dynamic", dynamic)))


def _cswin(width: int) -> Block:
    return Block("cswin", (("stripe_width", width),), "lepe")


def _swin(shift: str) -> Block:
    return Block("swin", (("window_size", 7), ("shift", shift)), "rpe")


_LSA, _REFINER = Block("lsa", (("window_size", 7),)), (("maps", "refined"), ("expand_ratio", 3))
_NAIVE, _THIRD = "stripe by stripe (naive reference)", Target(1.3)

#: twins_svt_small, cswin_tiny, swin_tiny, dwnet_tiny, refiner_vit_small (with maps refined) and VOLO-D1; linear
#: attention on a large and a small map of twins_svt_small; the widths of PoolFormer-S12.
CASES = (
    Case(_LSA, 0, 64, 2),
    Case(_LSA, 2, 256, 8),
    Case(Block("gsa", (("sr_ratio", 8),)), 0, 64, 2),
    Case(Block("gsa", (("sr_ratio", 2),)), 2, 256, 8),
    Case(_cswin(1), 0, 64, 2),
    Case(_cswin(1), 0, 64, 2, plain_by_stripe, _NAIVE, _THIRD),
    Case(_cswin(2), 1, 128, 4),
    Case(_cswin(2), 1, 128, 4, plain_by_stripe, _NAIVE, _THIRD),
    Case(_cswin(7), 2, 256, 8),
    Case(_cswin(7), 2, 256, 8, plain_by_stripe, _NAIVE, _THIRD),
    Case(_swin("none"), 0, 96, 3),
    Case(_swin("half"), 2, 384, 12),
    Case(_dwconv("none"), 0, 96, 3),
    Case(_dwconv("none"), 2, 384, 12),
    Case(_dwconv("homogeneous"), 1, 192, 6),
    Case(Block("refiner", (*_REFINER, ("kernel_size", 3))), 2, 384, 12),
    Case(Block("outlook", (("kernel_size", 3), ("stride", 2))), 1, 192, 6),
    Case(Block("linear", (("kernel_size", 5),)), 0, 64, 2),
    Case(Block("linear", (("kernel_size", 5),)), 2, 256, 8),
    Case(Block("pool", (("pool_size", 3),)), 0, 64, 2),
    Case(Block("pool", (("pool_size", 3),)), 2, 320, 10),
)


def bench(setup: Setup, cases: Sequence[Case] = CASES) -> list[Measurement]:
    """Return two measurements a case, inference and training step.

    Raises:
        RequestError: If windows do not divide the maps, or a batch is too small to train on.
        WorkError: If the two sides do not agree.
    """
    image_size = setup.pick(setup.image_size, 224, 224, _MULTIPLE)
    if image_size % _MULTIPLE:
        raise RequestError(
            f"--image-size {image_size}: operators are measured on maps that their windows divide; give a "
            f"multiple of {_MULTIPLE}"
        )
    batch = setup.pick(setup.batch_size, 4, 64, 2)
    if batch < 2:
        raise RequestError(
            "--batch-size: operators with BatchNorm are trained on at least 2 images; give 2 or more"
        )
    return [one for case in cases for one in _measure_case(case, image_size, batch, setup)]


def _measure_case(case: Case, image_size: int, batch: int, setup: Setup) -> list[Measurement]:
    block, feature_map, style = case.block, case.feature_map(image_size), Style()
    torch.manual_seed(0)
    module: nn.Module = mixer(block.operator).blueprint(block, feature_map, style).build()
    initialise(module)
    module.to(setup.device)
    inputs = random_inputs((batch, feature_map.height, feature_map.width, feature_map.dim), setup)
    where = f"{describe_block(block)} on {feature_map.height}x{feature_map.width}x{feature_map.dim}"
    other = case.other or mixer(block.operator).plain
    forwards = (module, lambda x: other(module, x))
    target = case.target if setup.device.type == "cpu" else None
    rest: dict[str, Any] = {"against": case.against, "target": target, "memory_target": NO_MORE_MEMORY}
    cost = block.spec.cost(block.settings, block.pos, feature_map)
    measurements = []
    for training in (False, True):
        module.train(training)
        sides = [
            training_side(f, module, inputs[0].shape, setup) if training else inference_side(f)
            for f in forwards
        ]
        name = f"{where}, {'training step' if training else 'inference'}"
        difference = _largest_difference(forwards, module, inputs[0], name, training)
        ours, theirs = time_in_turn(sides, inputs, setup, setup.pick_rounds(9))
        details = {
            **count_work(cost, batch, feature_map, training),
            "peak_bytes": measure_peaks(sides, inputs[0], setup),
            "copies": name_sides(count_copies(side, inputs[0]) for side in sides),
            "max_abs_difference": difference,
        }
        measurements.append(compare_times(name, ours, theirs, batch, details=details, **rest))
    return measurements


def training_side(
    forward: Callable[[Tensor], Tensor], module: nn.Module, shape: Sequence[int], setup: Setup
) -> Side:
    """Return forward and backward, with gradients of the input and of all of ``module``'s parameters.

    Args:
        forward: ``(B, H, W, C)`` to the same shape.
        module: What has the parameters.
        shape: Of the output.
        setup: The device.
    """
    gradient = torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(setup.device)

    def side(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with autocast(x.device):
            out = forward(x)
        out.backward(gradient.to(out.dtype))
        module.zero_grad(set_to_none=True)
        return out

    return side


def _largest_difference(
    forwards: Sequence[Callable[[Tensor], Tensor]], module: nn.Module, x: Tensor, name: str, training: bool
) -> float:
    """Return the largest difference of outputs, in training also of the input's gradients.

    In float64: BatchNorms of attention maps, which hardly differ, magnify the rounding of float32.
    """
    results = []
    module.double()
    for forward in forwards:
        inputs = x.detach().double().requires_grad_(training)
        out = forward(inputs)
        if training:
            (grad,) = torch.autograd.grad(out.square().sum(), inputs)
            results.append((out.detach(), grad))
        else:
            results.append((out.detach(), out.detach()))
    module.float()
    (ours, our_grad), (theirs, their_grad) = results
    return max(
        check_agreement(ours, theirs, name), check_agreement(our_grad, their_grad, f"{name}, gradients", 1e-3)
    )


def count_work(cost: Cost, batch: int, feature_map: FeatureMap, training: bool) -> dict[str, int]:
    """Return MACs, and the bytes that have to be read and written at least: weights, input and output.

    A training step takes three times both: gradients by the input and by the weights.
    """
    times, values = 3 if training else 1, cost.params + 2 * batch * feature_map.tokens * feature_map.dim
    return {"macs": times * batch * cost.macs, "bytes": times * 4 * values}


def describe_block(block: Block) -> str:
    """Return the operator and its knobs."""
    knobs = ", ".join(f"{name} {value}" for name, value in block.knobs)
    return f"{block.operator} ({knobs})"
