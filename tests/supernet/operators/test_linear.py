"""Linear attention: the contract of an operator, similarities one by one, and timm's module of EfficientViT."""

from __future__ import annotations

import pytest
import torch
from timm.models.efficientvit_mit import LiteMLA
from torch import Tensor

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap, operator
from supernet.elastic import Projections
from supernet.operators import mixer
from supernet.operators.linear import LinearAttention, relu_linear_attention
from tests.operator_contract import OperatorContract


def naive(module: LinearAttention, x: Tensor) -> Tensor:
    """Weigh the values of all positions by their similarity, and add the values around each, tap by tap."""
    H, W, C = x.shape[1:]
    heads, half = module.num_heads, module.convolution.kernel_size[0] // 2
    q, k, v = module.qkv(x).split(C, dim=-1)
    out = torch.zeros_like(v)
    places = [(y, c) for y in range(H) for c in range(W)]
    for y, c in places:
        for channels in torch.arange(C).chunk(heads):
            query = q[:, y, c, channels].clamp(min=0)
            similar = [(query * k[:, i, j, channels].clamp(min=0)).sum(-1, keepdim=True) for i, j in places]
            weighted = [s * v[:, i, j, channels] for s, (i, j) in zip(similar, places, strict=True)]
            out[:, y, c, channels] = sum(weighted) / (sum(similar) + 1e-15)
        for i, j in places:
            if abs(i - y) <= half and abs(j - c) <= half:
                out[:, y, c] += module.convolution.weight[:, 0, i - y + half, j - c + half] * v[:, i, j]
        out[:, y, c] += module.convolution.bias
    return module.proj(out)


class TestLinearAttention(OperatorContract):
    operator = "linear"
    settings = ({"kernel_size": 3}, {"kernel_size": 5})
    uses_fused_attention = False

    def naive(self, module: LinearAttention, x: Tensor) -> Tensor:
        return naive(module, x)


def test_attention_by_hand() -> None:
    q, k, v = ([[1.0, 2.0], [-1.0, 1.0], [-1.0, 0.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    out = relu_linear_attention(*(torch.tensor(part)[None, None] for part in (q, k, v)))
    # Similarities of the first query are 1 and 4, of the second 0 and 1; the third has no positive feature.
    torch.testing.assert_close(out[0, 0], torch.tensor([[0.2, 0.8], [0.0, 1.0], [0.0, 0.0]]))


@torch.no_grad()
def test_the_convolution_acts_on_the_values_before_the_output_projection() -> None:
    module = LinearAttention(1, 1, 3).eval()
    for parameter in module.parameters():
        parameter.zero_()
    module.qkv.weight.fill_(1.0)
    module.convolution.weight[0, 0, 1, 0] = 10.0  # the left neighbour
    module.proj.weight.fill_(2.0)
    # Queries and keys 1, 2, 0; values 1, 2, -1; the weighted mean is (1 + 4) / 3, and zero without a query.
    out = module(torch.tensor([1.0, 2.0, -1.0]).view(1, 1, 3, 1)).flatten()
    torch.testing.assert_close(out, torch.tensor([10 / 3, 10 / 3 + 20, 40.0]))


@pytest.mark.parametrize(("H", "W"), [(7, 7), (3, 10)])
@pytest.mark.parametrize("heads", [1, 3])
@torch.no_grad()
def test_equals_timms_module_of_one_scale(heads: int, H: int, W: int) -> None:
    """Theirs without convolutions is ours with a kernel of zeros; they keep q, k and v of a head together."""
    d, C = 4, 4 * heads
    theirs = LiteMLA(C, C, heads=heads, dim=d, norm_layer=None, scales=(), eps=1e-15).eval()
    ours = LinearAttention(C, heads, 3, qkv_bias=False).eval()
    by_head = theirs.qkv.conv.weight.view(heads, 3, d, C).transpose(0, 1)
    ours.qkv.weight.copy_(by_head.reshape(3 * C, C))
    ours.proj.weight.copy_(theirs.proj.conv.weight[:, :, 0, 0])
    for parameter in (ours.proj.bias, ours.convolution.weight, ours.convolution.bias):
        assert parameter is not None
        parameter.zero_()
    x = torch.randn(2, H, W, C)
    expected = theirs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_over_the_map_are_safe_in_half_precision(dtype: torch.dtype) -> None:
    """The sum of 4,096 keys of 100, their products with values and a query's with both are beyond float16's 65,504."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (100 * torch.randn(1, 2, 4096, 8, generator=generator).add(0.5).to(dtype) for _ in range(3))
    exact = relu_linear_attention(q.double(), k.double(), v.double())
    for out in (relu_linear_attention(q, k, v), _under_autocast(dtype, q.float(), k.float(), v.float())):
        assert out.dtype == dtype
        assert out.isfinite().all()
        assert (out.double() - exact).norm() < 0.005 * exact.norm()


def _under_autocast(dtype: torch.dtype, *parts: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype):
        return relu_linear_attention(*parts)


def test_queries_or_keys_without_a_positive_feature_give_zeros_and_finite_gradients() -> None:
    for dead in (0, 1):
        parts = [torch.randn(1, 2, 9, 4) for _ in range(3)]
        parts[dead] = -parts[dead].abs()
        q, k, v = (part.requires_grad_() for part in parts)
        out = relu_linear_attention(q, k, v)
        assert (out == 0).all()
        out.sum().backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in (q, k, v))


def test_tiny_similarities_keep_their_proportions() -> None:
    """Sums of 1e-10 are common in a head of few features; the epsilon must not shrink them."""
    q, k, v = torch.full((1, 1, 2, 1), 1e-5), torch.full((1, 1, 2, 1), 1e-5), torch.tensor([[[[1.0], [3.0]]]])
    torch.testing.assert_close(relu_linear_attention(q, k, v), torch.full((1, 1, 2, 1), 2.0))


@torch.no_grad()
def test_every_position_attends_to_all() -> None:
    module = LinearAttention(8, 2, 3).double().eval()
    x = torch.randn(1, 9, 9, 8, dtype=torch.float64)
    y = module(x)
    x[0, 0, 0] += 1
    assert (module(x) - y)[0, 8, 8].abs().max() > 1e-6


def test_a_smaller_kernel_is_the_middle_of_the_largest() -> None:
    blocks = [Block("linear", (("kernel_size", size),)) for size in (3, 7)]
    feature_map = FeatureMap(4, 2, 6, 6)
    elastic = mixer("linear").elastic(blocks, feature_map, Projections(4, bias=True, head_groups=2))
    small, large = (elastic.weight_slices(block, feature_map)["convolution.weight"]() for block in blocks)
    assert large.shape == (4, 1, 7, 7)
    assert torch.equal(small, large[:, :, 2:5, 2:5])


def test_cost_by_hand() -> None:
    """4x6 positions of 8 channels, 2 heads of 4, kernel 3; a map of twice the rows costs twice as much."""
    spec, knobs = operator("linear"), {"kernel_size": 3}
    cost = spec.cost(knobs, "none", FeatureMap(8, 2, 4, 6))
    assert cost.params == (8 * 24 + 24) + (8 * 9 + 8) + (8 * 8 + 8)
    assert cost.macs == 24 * (4 * 64 + 2 * 8 * 4 + 9 * 8)
    assert spec.cost(knobs, "none", FeatureMap(8, 2, 8, 6)).macs == 2 * cost.macs


@pytest.mark.parametrize(
    ("kernel", "heads", "error"),
    [
        (7, 2, None),
        (9, 2, "kernel_size 9 reaches beyond a 4x6 map of 8 channels and 2 heads; use at most 7"),
        (3, 3, "8 channels cannot be divided among 3 heads"),
    ],
)
def test_knobs_fit_the_map(kernel: int, heads: int, error: str | None) -> None:
    block = Block("linear", (("kernel_size", kernel),))
    assert block.incompatibility(FeatureMap(8, heads, 4, 6)) == error
