"""Depth-wise convolution: the contract of an operator, and sums written out tap by tap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap, KnobValue
from search_spaces.skeleton import Style
from supernet.operators import mixer
from supernet.operators.dwconv import DepthwiseConvolution, DynamicDepthwise, InhomogeneousDepthwise
from tests.operator_contract import OperatorContract


def made(dim: int, kernel_size: int, dynamic: str, group_channels: int | None) -> DepthwiseConvolution:
    """Return the module that a block with these knobs asks for."""
    knobs: dict[str, KnobValue] = {"kernel_size": kernel_size, "dynamic": dynamic}
    if group_channels is not None:
        knobs["group_channels"] = group_channels
    block, feature_map = Block("dwconv", tuple(knobs.items())), FeatureMap(dim, 1, 6, 6)
    module: DepthwiseConvolution = mixer("dwconv").blueprint(block, feature_map, Style()).build()
    return module


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(4)
    for key, value in module.double().state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.normal_(std=0.5)
    return module.eval()


def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    """Normalise ``(b, h, w, c)`` by the running statistics."""
    assert layer.running_mean is not None and layer.running_var is not None
    scaled = (x - layer.running_mean) / (layer.running_var + layer.eps).sqrt()
    return scaled * layer.weight + layer.bias


def pointwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
    out = einsum(x, layer.weight[:, :, 0, 0], "b h w c, o c -> b h w o")
    return out if layer.bias is None else out + layer.bias


def taps(x: Tensor, kernel: Callable[[int, int, int, int], Tensor], size: int) -> Tensor:
    """Sum the ``size * size`` neighbours of every position, weighted by ``kernel(y, x, row, column)``."""
    H, W = x.shape[1:3]
    out, half = torch.zeros_like(x), size // 2
    for y in range(H):
        for c in range(W):
            for i in range(size):
                for j in range(size):
                    if 0 <= y + i - half < H and 0 <= c + j - half < W:
                        out[:, y, c] += kernel(y, c, i, j) * x[:, y + i - half, c + j - half]
    return out


def naive_depthwise(module: nn.Module, x: Tensor) -> Tensor:
    """Convolve ``(b, h, w, c)`` by the definition of each form."""
    if isinstance(module, DynamicDepthwise):
        k = module.kernel_size
        pooled = reduce(x, "b h w c -> b 1 1 c", "mean")
        made = pointwise(norm(pointwise(pooled, module.reduce), module.norm).relu(), module.generate)
        kernels = rearrange(made, "b 1 1 (c i j) -> b c i j", i=k, j=k)
        return taps(x, lambda y, c, i, j: kernels[:, :, i, j], k) + module.bias
    if isinstance(module, InhomogeneousDepthwise):
        k, shared = module.kernel_size, module.group_channels
        made = pointwise(norm(pointwise(x, module.reduce), module.norm).relu(), module.generate)
        kernels = rearrange(made, "b h w (g i j) -> b h w g i j", i=k, j=k).repeat_interleave(shared, dim=3)
        return taps(x, lambda y, c, i, j: kernels[:, y, c, :, i, j], k)
    assert isinstance(module, nn.Conv2d) and module.bias is not None
    return taps(x, lambda y, c, i, j: module.weight[:, 0, i, j], module.kernel_size[0]) + module.bias


def naive(module: DepthwiseConvolution, x: Tensor) -> Tensor:
    x = norm(pointwise(x, module.pointwise_in), module.norm_in).relu()
    x = norm(naive_depthwise(module.depthwise, x), module.norm).relu()
    return norm(pointwise(x, module.pointwise_out), module.norm_out)


class TestDepthwiseConvolution(OperatorContract):
    operator = "dwconv"
    settings = (
        {"kernel_size": 3, "dynamic": "none"},
        {"kernel_size": 5, "dynamic": "none"},
        {"kernel_size": 3, "dynamic": "homogeneous"},
        {"kernel_size": 5, "dynamic": "homogeneous"},
        {"kernel_size": 3, "dynamic": "inhomogeneous", "group_channels": 1},
        {"kernel_size": 5, "dynamic": "inhomogeneous", "group_channels": 4},
        {"kernel_size": 3, "dynamic": "inhomogeneous", "group_channels": 4},
    )
    uses_fused_attention = False

    def naive(self, module: DepthwiseConvolution, x: Tensor) -> Tensor:
        return naive(module, x)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(
    ("dynamic", "group_channels"),
    [("none", None), ("homogeneous", None), ("inhomogeneous", 1), ("inhomogeneous", 4)],
)
@pytest.mark.parametrize(("H", "W"), [(6, 5), (2, 3)])
@torch.no_grad()
def test_equals_naive(H: int, W: int, dynamic: str, group_channels: int | None, kernel_size: int) -> None:
    module = made(8, kernel_size, dynamic, group_channels)
    randomised(module)
    x = torch.randn(2, H, W, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x), naive(module, x))


def test_dynamic_asked_is_dynamic_built() -> None:
    """The published block builds a static convolution whatever is asked (an if/else slip); ours does not."""
    assert isinstance(made(8, 3, "homogeneous", None).depthwise, DynamicDepthwise)
    assert isinstance(made(8, 3, "inhomogeneous", 2).depthwise, InhomogeneousDepthwise)
    assert type(made(8, 3, "none", None).depthwise) is nn.Conv2d
