"""What every static operator holds, whatever its mathematics: one table of modules, run through all checks.

The naive references that say what each operator should compute are in the operators' own files.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from supernet.kernels import attention, plain_attention
from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.operators.dwconv import DepthwiseConvolution
from supernet.operators.gsa import GlobalSubsampledAttention
from supernet.operators.lsa import LocallyGroupedAttention
from supernet.operators.outlook import OutlookAttention
from supernet.operators.refiner import RefinedAttention
from supernet.operators.swin import ShiftedWindowAttention

DIM = 12
OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "lsa": lambda: LocallyGroupedAttention(DIM, 2, 4),
    "lsa_rpe": lambda: LocallyGroupedAttention(DIM, 3, 3, rpe=True, qkv_bias=False),
    "lsa_lepe": lambda: LocallyGroupedAttention(DIM, 2, 4, lepe=True, mask_padding=False),
    "gsa": lambda: GlobalSubsampledAttention(DIM, 2, 2),
    "gsa_unreduced": lambda: GlobalSubsampledAttention(DIM, 2, 1, qkv_bias=False),
    "cswin": lambda: CrossShapedWindowAttention(DIM, 2, 3),
    "cswin_rpe": lambda: CrossShapedWindowAttention(DIM, 4, 2, lepe=False, rpe_size=(6, 5)),
    "cswin_full": lambda: CrossShapedWindowAttention(DIM, 3, None, qkv_bias=False, rpe_size=(4, 4)),
    "dwconv": lambda: DepthwiseConvolution(DIM, 5),
    "dwconv_homogeneous": lambda: DepthwiseConvolution(DIM, 3, dynamic="homogeneous"),
    "dwconv_inhomogeneous": lambda: DepthwiseConvolution(DIM, 3, dynamic="inhomogeneous", group_channels=4),
    "refiner": lambda: RefinedAttention(DIM, 2, 3, 3, rpe_size=(5, 5)),
    "refiner_dense": lambda: RefinedAttention(DIM, 3, 1, 5, dense=True),
    "refiner_plain": lambda: RefinedAttention(DIM, 3, 1, 3, refine=False, qkv_bias=False),
    "swin": lambda: ShiftedWindowAttention(DIM, 2, 4, 2),
    "swin_unshifted": lambda: ShiftedWindowAttention(DIM, 2, 3, qkv_bias=False),
    "outlook": lambda: OutlookAttention(DIM, 2),
    "outlook_strided": lambda: OutlookAttention(DIM, 3, 5, 2, qkv_bias=True),
}
SIZES = [(8, 8), (7, 10), (5, 3), (2, 9), (1, 1)]

every_operator = pytest.mark.parametrize("name", OPERATORS)


def made(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return an operator with random weights and statistics, ready for inference."""
    torch.manual_seed(7)
    module = OPERATORS[name]().to(dtype).eval()
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.normal_(std=0.5)
    return module


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


@every_operator
@pytest.mark.parametrize(("H", "W"), SIZES)
@torch.no_grad()
def test_any_size_keeps_shape_and_dtype(name: str, H: int, W: int) -> None:
    for dtype in (torch.float32, torch.float64):
        y = made(name, dtype)(images(2, H, W, DIM, dtype=dtype))
        assert y.shape == (2, H, W, DIM)
        assert y.dtype == dtype
        assert y.isfinite().all()


@every_operator
@torch.no_grad()
def test_each_image_is_independent_of_its_batch_mates(name: str) -> None:
    module, x = made(name), images(3, 7, 10, DIM)
    together = module(x)
    for index in range(len(x)):
        torch.testing.assert_close(together[index : index + 1], module(x[index : index + 1]))


@every_operator
@torch.no_grad()
def test_layout_in_memory_does_not_matter(name: str) -> None:
    module, x = made(name), images(2, 7, 10, DIM)
    strided = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not strided.is_contiguous()
    torch.testing.assert_close(module(strided), module(x))


@every_operator
def test_gradients_reach_every_weight_and_the_input(name: str) -> None:
    module, x = made(name).train(), images(2, 8, 9, DIM).requires_grad_()
    (module(x) * images(2, 8, 9, DIM)).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    for key, weight in module.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), key
        assert weight.grad.abs().sum() > 0, key


@every_operator
@torch.no_grad()
def test_fused_attention_equals_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = made(name), images(2, 7, 10, DIM)
    source = importlib.import_module(type(module).__module__)
    if not hasattr(source, "attention"):  # dwconv, refiner and outlook have no fused path to compare
        assert source.__name__.rpartition(".")[2] in ("dwconv", "refiner", "outlook")
        return
    fused, calls = module(x), []

    def counted(*args: Tensor | None) -> Tensor:
        calls.append(args)
        return plain_attention(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "attention", counted)
    torch.testing.assert_close(module(x), fused)
    assert calls


@pytest.mark.parametrize("bias", [None, (2, 5, 7), (1, 2, 5, 7), (3, 1, 5, 7), (3, 2, 5, 7), (6, 2, 5, 7)])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("learned", [False, True])
def test_kernels_agree(bias: tuple[int, ...] | None, scale: float | None, learned: bool) -> None:
    q, k, v = images(6, 2, 5, 4), images(6, 2, 7, 4) + 1, images(6, 2, 7, 4) - 1
    added = whole = None
    if bias is not None:
        added = images(*bias).requires_grad_(learned)
        # Three windows of two images: those of the second are biased as those of the first.
        whole = added if len(added) == 6 else added.expand(3, 2, 5, 7).repeat(2, 1, 1, 1)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=whole, scale=scale)
    for attend in (attention, plain_attention):
        out = attend(q, k, v, added, scale)
        torch.testing.assert_close(out, expected)
        if learned and added is not None:
            gradient = images(*out.shape)
            both = [torch.autograd.grad(made, added, gradient, retain_graph=True) for made in (out, expected)]
            torch.testing.assert_close(*both)


@every_operator
@torch.no_grad()
def test_export_round_trip_at_another_batch_size(name: str) -> None:
    module, x = made(name, torch.float32), images(3, 7, 10, DIM, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.export's own tracing
        program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("B", max=64)},))
    other = images(5, 7, 10, DIM, dtype=torch.float32)
    torch.testing.assert_close(program.module()(other), module(other))
