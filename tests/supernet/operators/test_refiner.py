"""Refiner: the contract of an operator, and maps refined entry by entry."""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from supernet.operators.refiner import (
    AttentionRefinement,
    DenseRefinement,
    RefinedAttention,
    SharedRefinedAttention,
)
from supernet.pos import RelativePositionBias
from tests.helpers.naive import relative_bias
from tests.helpers.operator_cases import DIM, MixerCase
from tests.operator_contract import OperatorContract


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    for key, value in module.double().state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.normal_(std=0.5)
    return module.eval()


def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    assert layer.running_mean is not None and layer.running_var is not None
    mean, variance, weight, bias = (
        rearrange(t, "h -> h 1 1") for t in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / (variance + layer.eps).sqrt() * weight + bias


def convolved(maps: Tensor, weight: Tensor, pattern: str) -> Tensor:
    """Convolve ``(b, h, n, m)`` entry by entry; ``pattern`` tells which maps a tap mixes."""
    N, M, half = maps.shape[2], maps.shape[3], weight.shape[-1] // 2
    out = maps.new_zeros(maps.shape[0], weight.shape[0], N, M)
    for n in range(N):
        for m in range(M):
            for i in range(weight.shape[-2]):
                for j in range(weight.shape[-1]):
                    y, x = n + i - half, m + j - half
                    if 0 <= y < N and 0 <= x < M:
                        out[:, :, n, m] += einsum(maps[:, :, y, x], weight[:, :, i, j], pattern)
    return out


DENSE = "b h, o h -> b o"


def refined(module: nn.Module, maps: Tensor) -> Tensor:
    if isinstance(module, DenseRefinement):
        return convolved(maps, module.conv.weight, DENSE)
    assert isinstance(module, AttentionRefinement)
    x = maps
    if module.expand is not None and module.norm_expand is not None:
        x = norm(convolved(x, module.expand.weight, DENSE), module.norm_expand).clamp(0, 6)
    x = convolved(x, module.depthwise.weight, "b h, h one -> b h")
    x = norm(x, module.norm_depthwise).clamp(0, 6)
    return maps + norm(convolved(x, module.reduce.weight, DENSE), module.norm_reduce)


def naive(
    module: RefinedAttention, x: Tensor, previous: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attend over tokens ``(b, n, c)``, with softmax first and refinement after."""
    q, k, v = rearrange(module.qkv(x), "b n (three h d) -> three b h n d", three=3, h=module.num_heads)
    d = q.shape[-1]
    logits = einsum(q, k, "b h n d, b h m d -> b h n m") / d**0.5
    maps = (logits if bias is None else logits + bias).softmax(-1)
    if previous is not None:
        maps = maps + previous / d**0.5
    if module.refine is not None and module.norm is not None:
        maps = norm(refined(module.refine, maps), module.norm)
    out = einsum(maps, v, "b h n m, b h m d -> b h n d")
    return module.proj(rearrange(out, "b h n d -> b n (h d)")), maps


class TestRefiner(OperatorContract):
    operator = "refiner"
    settings = (
        {"expand_ratio": 1, "kernel_size": 3},
        {"expand_ratio": 2, "kernel_size": 1},
        {"expand_ratio": 3, "kernel_size": 3},
    )
    variants = (
        MixerCase("dense", lambda: RefinedAttention(DIM, 3, DenseRefinement(3, 5)), (5, 6)),
        MixerCase("unrefined", lambda: RefinedAttention(DIM, 3, qkv_bias=False), (5, 6)),
    )
    uses_fused_attention = False

    def naive(self, module: RefinedAttention, x: Tensor) -> Tensor:
        H, W = x.shape[1:3]
        bias = None if module.rpe is None else relative_bias(module.rpe.table, H, W)
        tokens, _ = naive(module, rearrange(x, "b y x c -> b (y x) c"), bias=bias)
        return rearrange(tokens, "b (y x) c -> b y x c", y=H)


@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize(
    ("expand_ratio", "kernel_size", "refine", "dense"),
    [(1, 3, True, False), (3, 3, True, False), (2, 5, True, False), (1, 3, True, True), (1, 3, False, False)],
)
@torch.no_grad()
def test_tokens_equal_naive(
    expand_ratio: int, kernel_size: int, refine: bool, dense: bool, with_previous: bool
) -> None:
    refinement = (
        DenseRefinement(3, kernel_size) if dense else AttentionRefinement(3, expand_ratio, kernel_size)
    )
    module = RefinedAttention(12, 3, refinement if refine else None)
    randomised(module)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    previous = torch.randn(2, 3, 7, 7, dtype=torch.float64) if with_previous else None
    for ours, expected in zip(module.attend(x, previous), naive(module, x, previous), strict=True):
        torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_a_map_is_attended_to_as_its_tokens() -> None:
    module = RefinedAttention(12, 3, AttentionRefinement(3, 2, 3))
    randomised(module)
    x = torch.randn(2, 3, 4, 12, dtype=torch.float64)
    expected, _ = naive(module, rearrange(x, "b y x c -> b (y x) c"))
    torch.testing.assert_close(module(x), rearrange(expected, "b (y x) c -> b y x c", y=3))


@torch.no_grad()
def test_bias_is_added_before_the_softmax() -> None:
    module = RefinedAttention(12, 3, rpe=RelativePositionBias(3, 4, 3))
    randomised(module)
    assert module.rpe is not None
    x = torch.randn(2, 3, 4, 12, dtype=torch.float64)
    q, k, v = rearrange(module.qkv(x), "b y x (three h d) -> three b h (y x) d", three=3, h=3)
    logits = einsum(q, k, "b h n d, b h m d -> b h n m") / 2.0 + module.rpe(3, 4)
    out = rearrange(logits.softmax(-1) @ v, "b h (y x) d -> b y x (h d)", y=3)
    torch.testing.assert_close(module(x), module.proj(out))


@torch.no_grad()
def test_a_sharing_block_refines_given_maps_and_hands_them_on() -> None:
    module = SharedRefinedAttention(12, 3, AttentionRefinement(3, 3, 3))
    randomised(module)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    given = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    maps = norm(refined(module.refine, given), module.norm) / 4**0.5
    v = rearrange(module.v(x), "b n (h d) -> b h n d", h=3)
    expected = module.proj(rearrange(maps @ v, "b h n d -> b n (h d)"))
    ours, passed = module.attend(x, given)
    torch.testing.assert_close(ours, expected)
    assert passed is given


@torch.no_grad()
def test_sharing_exports() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (
                RefinedAttention(12, 3),
                SharedRefinedAttention(12, 3, AttentionRefinement(3, 3, 3)),
            )

        def forward(self, x: Tensor) -> Tensor:
            x, maps = self.first.attend(x)
            return self.second.attend(x, maps)[0]

    pair, x = Pair().eval(), torch.randn(2, 6, 12)
    program = torch.export.export(pair, (x,))
    torch.testing.assert_close(program.module()(x), pair(x))
