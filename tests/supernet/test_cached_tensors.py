"""Masks and indices are made once for each size, and never where the tensor of one computation would harm another."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from supernet import cached_tensors
from supernet.cached_tensors import cached_by_size
from supernet.operators.lsa import LocallyGroupedAttention, padding_mask
from supernet.operators.swin import ShiftedWindowAttention, shift_mask
from supernet.pos import RelativePositionBias, relative_index
from tests.helpers.modules import randomised
from tests.helpers.operator_cases import trace

CPU = torch.device("cpu")
#: Every cached function of the package with arguments for it.
CACHED: dict[Callable[..., Tensor], tuple[Any, ...]] = {
    padding_mask: (torch.float32, 5, 7, 4),
    shift_mask: (torch.float32, 8, 8, 4, 2, 2),
    relative_index: (3, 2, 7, 5),
}
every_function = pytest.mark.parametrize(
    ("function", "sizes"), CACHED.items(), ids=[function.__name__ for function in CACHED]
)


def modules() -> list[nn.Module]:
    """Return modules that use each of them."""
    rpe = RelativePositionBias(4, 4, 2)
    return [LocallyGroupedAttention(8, 2, 4, rpe=rpe), ShiftedWindowAttention(8, 2, 4, 2)]


@every_function
def test_the_same_tensor_is_returned_for_the_same_sizes(
    function: Callable[..., Tensor], sizes: tuple[Any, ...]
) -> None:
    first = function(CPU, *sizes)
    assert function(CPU, *sizes) is first and not first.requires_grad
    other = function(torch.device("meta"), *sizes)
    assert other.device.type == "meta" and other.shape == first.shape and function(CPU, *sizes) is first


def test_a_relative_index_is_query_minus_key() -> None:
    # A window of one row and three columns in a table of 1 x 5 offsets, -2 to 2; farther ones take the outermost.
    assert relative_index(CPU, 1, 3, 1, 5).tolist() == [2, 1, 0, 3, 2, 1, 4, 3, 2]
    assert relative_index(CPU, 1, 3, 1, 3).tolist() == [1, 0, 0, 2, 1, 0, 2, 2, 1]
    # Two rows, one column, in a table of 3 x 3: only its middle column.
    assert relative_index(CPU, 2, 1, 3, 3).tolist() == [4, 1, 7, 4]


@every_function
def test_what_inference_mode_asked_for_first_can_be_trained_with(
    function: Callable[..., Tensor], sizes: tuple[Any, ...]
) -> None:
    larger = tuple(2 * size if isinstance(size, int) else size for size in sizes)
    with torch.inference_mode():
        made = function(CPU, *larger)
    assert not made.is_inference() and function(CPU, *larger) is made


def test_modules_that_inferred_at_a_size_first_train_at_it() -> None:
    for module, x in zip(modules(), (torch.randn(1, 9, 11, 8), torch.randn(1, 12, 20, 8)), strict=True):
        with torch.inference_mode():
            expected = module(x)
        out = module(x)
        torch.testing.assert_close(out, expected)
        out.sum().backward()


@every_function
def test_fake_tensors_are_neither_kept_nor_given_real_ones(
    function: Callable[..., Tensor], sizes: tuple[Any, ...]
) -> None:
    real = function(CPU, *sizes)
    with FakeTensorMode():
        fake, on_gpu = function(CPU, *sizes), function(torch.device("cuda:0"), *sizes)
        assert type(fake) is not Tensor and fake.shape == real.shape and on_gpu.device.type == "cuda"
    assert function(CPU, *sizes) is real and type(real) is Tensor


def test_traced_and_exported_modules_keep_nothing_of_another_call() -> None:
    for module in modules():
        module, x = randomised(module).eval(), torch.randn(1, 10, 6, 8)
        expected = module(x)
        program = torch.export.export(module, (x,))
        assert not program.constants
        torch.testing.assert_close(program.module()(x), expected)
        torch.testing.assert_close(trace(module, x)(x), expected)


def test_state_copies_and_pickles_hold_weights_alone() -> None:
    for module in modules():
        before, x = list(module.state_dict()), torch.randn(1, 10, 6, 8)
        expected = module(x)
        assert list(module.state_dict()) == before
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(x), expected)


def test_the_oldest_leave_when_there_is_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_tensors, "CACHE_BYTES", 100)
    made = []

    @cached_by_size
    def ramp(device: torch.device, size: int) -> Tensor:
        made.append(size)
        return torch.arange(size, device=device)  # 8 bytes each

    for size in (
        5,
        6,
        5,
        2,
        5,
        20,
        20,
    ):  # 5 leaves for 2, 6 and 2 for the second 5, all for 20, which does not fit
        assert ramp(CPU, size).tolist() == list(range(size))
    assert made == [5, 6, 2, 5, 20, 20]
