"""Weights assigned to a module's tables are what torch's own functional call would use: a canary of both names."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.functional_module import BoundModule, FunctionalModule, tensor_slots
from tests.helpers.modules import randomised


class Mixed(nn.Module):
    """Nested parameters and buffers, one of each that is absent, and a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3, bias=False))
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.zeros(3))
        self.register_buffer("nothing", None)
        self.register_parameter("none", None)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * self.scale + self.offset

    def doubled(self, x: Tensor) -> Tensor:
        return 2 * self(x)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_it_is_torchs_functional_call(training: bool) -> None:
    with torch.device("meta"):
        ours, theirs = FunctionalModule(Mixed()), Mixed().train(training)
    x = torch.randn(5, 4)
    for seed in (0, 1):  # the second weights replace the first
        weights = weights_of(randomised(Mixed(), seed))
        learned = {
            name: value.requires_grad_()
            for name, value in weights.items()
            if name in dict(theirs.named_parameters())
        }
        copied = copy.deepcopy(weights)
        outputs = ours.run(weights, training, x), functional_call(theirs, copied, (x,))
        assert torch.equal(*outputs)
        gradients = torch.autograd.grad(outputs[0].sum(), list(learned.values()))
        expected = torch.autograd.grad(outputs[1].sum(), [copied[name] for name in learned])
        assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))
        # BatchNorm's statistics move in place, in the tensors that were given.
        assert all(torch.equal(weights[name], copied[name]) for name in weights)


def test_slots_are_the_state_of_a_module() -> None:
    module = randomised(Mixed())
    slots, state = tensor_slots(module), module.state_dict()
    assert slots.keys() == state.keys()
    for name, slot in slots.items():
        assert slot.read().data_ptr() == state[name].data_ptr()


def test_a_bound_module_reads_its_sources_at_every_run() -> None:
    shared = randomised(Mixed()).eval()
    with torch.device("meta"):
        bound = BoundModule(FunctionalModule(Mixed()), {n: s.read for n, s in tensor_slots(shared).items()})
    x = torch.randn(2, 4)
    assert torch.equal(bound.run(False, x), shared(x))
    randomised(shared, seed=1)
    shared.scale = nn.Parameter(torch.full((3,), 7.0))
    assert torch.equal(bound.run(False, x), shared(x))


def test_a_method_may_be_applied_in_place_of_the_module() -> None:
    module = randomised(Mixed()).eval()
    doubled = FunctionalModule(copy.deepcopy(module), "doubled")
    x = torch.randn(2, 4)
    assert torch.equal(doubled.run(module.state_dict(), False, x), 2 * module(x))


@pytest.mark.parametrize("bound", [False, True])
def test_weights_that_are_not_its_own_are_refused(bound: bool) -> None:
    module, weights = FunctionalModule(nn.Linear(1, 1)), {"weight": torch.zeros(1, 1), "scale": torch.ones(1)}
    with pytest.raises(KeyError, match="weights do not match Linear: bias, scale"):
        if bound:
            BoundModule(module, {name: value.clone for name, value in weights.items()})
        else:
            module.run(weights, False, torch.zeros(1, 1))
