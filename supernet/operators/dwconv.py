"""Depth-wise convolution, static and dynamic (Demystifying Local ViT, arXiv 2106.04263, sections 2, 3).

The paper reads local attention as a depth-wise convolution whose weights come from the content. Its
block is: point-wise, BatchNorm, ReLU; depth-wise, BatchNorm, ReLU; point-wise, BatchNorm. The
depth-wise kernel is learned (static), computed for each image (homogeneous), or computed for each
position and group of channels (inhomogeneous).

The published block builds a static convolution whichever form is asked for (a slip in an if/else); this one
builds what the block of the architecture says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap, KnobValue
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections
from supernet.weight_slices import (
    Merge,
    WeightSlices,
    centre,
    centred,
    chain,
    first_entries,
    full,
    narrow,
    prefixed,
)

#: Which kernels: the knob ``dynamic``, and ``group_channels`` where they are inhomogeneous.
Form = tuple[str, KnobValue | None]


class DynamicDepthwise(nn.Module):
    """Depth-wise convolution with kernels computed from the whole image (homogeneous, eq. 8).

    Args:
        dim: Channels C.
        kernel_size: Side of the kernel.
    """

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.reduce = nn.Conv2d(dim, dim // 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(dim // 4)
        self.generate = nn.Conv2d(dim // 4, dim * kernel_size**2, 1)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        B, C, H, W = x.shape
        k = self.kernel_size
        kernels = self.generate(F.relu(self.norm(self.reduce(x.mean(dim=(2, 3), keepdim=True)))))
        if torch.compiler.is_exporting() or type(B) is not int:
            # Exported or traced (where sizes are tensors) a convolution's groups are a constant, so patches are
            # multiplied instead and any batch size runs.
            patches = F.unfold(x, k, padding=k // 2).view(B, C, k * k, H * W)
            return (kernels.view(B, C, 1, k * k) @ patches).view(B, C, H, W) + self.bias.view(-1, 1, 1)
        # Images become groups: one convolution applies every image's own kernels.
        out = F.conv2d(
            x.reshape(1, B * C, H, W), kernels.reshape(B * C, 1, k, k), padding=k // 2, groups=B * C
        )
        return out.view(B, C, H, W) + self.bias.view(-1, 1, 1)


class InhomogeneousDepthwise(nn.Module):
    """Depth-wise convolution with a kernel for every position and group of channels (eq. 9).

    Args:
        dim: Channels C.
        kernel_size: Side of the kernel.
        group_channels: Channels that share a kernel.
    """

    def __init__(self, dim: int, kernel_size: int, group_channels: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.group_channels = group_channels
        self.reduce = nn.Conv2d(dim, dim // 4, 1)
        self.norm = nn.BatchNorm2d(dim // 4)
        self.generate = nn.Conv2d(dim // 4, dim // group_channels * kernel_size**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        B, C, H, W = x.shape
        area = self.kernel_size**2
        kernels = self.generate(F.relu(self.norm(self.reduce(x)))).view(B, -1, 1, area, H, W)
        patches = F.unfold(x, self.kernel_size, padding=self.kernel_size // 2)
        patches = patches.view(B, -1, self.group_channels, area, H, W)
        return (kernels * patches).sum(dim=3).view(B, C, H, W)


class DepthwiseConvolution(nn.Module):
    """The paper's convolution block in place of attention.

    Args:
        dim: Channels C.
        depthwise: The depth-wise convolution, static or dynamic, ``(B, C, H, W)`` to the same shape.
    """

    def __init__(self, dim: int, depthwise: nn.Module) -> None:
        super().__init__()
        self.pointwise_in = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_in = nn.BatchNorm2d(dim)
        self.depthwise = depthwise
        self.norm = nn.BatchNorm2d(dim)
        self.pointwise_out = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_out = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape, for any H and W."""
        x = x.permute(0, 3, 1, 2)
        x = F.relu(self.norm_in(self.pointwise_in(x)))
        x = F.relu(self.norm(self.depthwise(x)))
        return self.norm_out(self.pointwise_out(x)).permute(0, 2, 3, 1)


def blueprint(block: Block, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the static module of ``block``."""
    return _convolution(feature_map.dim, int(block.knob("kernel_size")), _form(block))


def _convolution(dim: int, kernel_size: int, form: Form) -> Call:
    """Return what makes the static module with a depth-wise kernel of one form."""
    dynamic, group_channels = form
    if dynamic == "homogeneous":
        depthwise = call(DynamicDepthwise, dim, kernel_size)
    elif dynamic == "inhomogeneous":
        depthwise = call(InhomogeneousDepthwise, dim, kernel_size, group_channels)
    else:
        depthwise = call(nn.Conv2d, dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
    return call(DepthwiseConvolution, dim, depthwise)


def _form(block: Block) -> Form:
    knobs = dict(block.knobs)
    return str(knobs["dynamic"]), knobs.get("group_channels")


def _form_name(form: Form) -> str:
    """Return the form's key in checkpoints: ``none``, ``homogeneous``, ``inhomogeneous-4``."""
    return "-".join(str(part) for part in form if part is not None)


class ElasticDepthwise(Elastic):
    """Weights of depth-wise convolutions: smaller kernels are the middle of the largest one.

    Point-wise convolutions and norms are common to all forms. Static and homogeneous kernels and inhomogeneous
    ones of each group width have weights of their own.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        largest: dict[Form, int] = {}
        for block in blocks:
            form = _form(block)
            largest[form] = max(largest.get(form, 0), int(block.knob("kernel_size")))
        self.common: DepthwiseConvolution = _convolution(feature_map.dim, 3, ("none", None)).build()
        del self.common.depthwise  # each form has its own
        self.forms = nn.ModuleDict(
            {
                _form_name(form): _convolution(feature_map.dim, kernel, form).build().depthwise
                for form, kernel in largest.items()
            }
        )
        self.largest = {_form_name(form): kernel for form, kernel in largest.items()}

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as ``DepthwiseConvolution`` names its parameters.

        All are views but the layers that compute smaller dynamic kernels, whose outputs are not adjacent.
        """
        common, dim = self.common, feature_map.dim
        weight_slices: WeightSlices = {}
        for name, module in common.named_children():
            is_norm = isinstance(module, nn.BatchNorm2d)
            weight_slices |= prefixed(name, first_entries(module, *(dim,) if is_norm else (dim, dim)))
        return weight_slices | prefixed("depthwise", self._depthwise_slices(block, dim))

    def _depthwise_slices(self, block: Block, dim: int) -> WeightSlices:
        kernel, form = int(block.knob("kernel_size")), _form(block)
        (dynamic, group_channels), name = form, _form_name(form)
        module: Any = self.forms[name]
        if dynamic == "none":
            weight_slices = first_entries(module, dim)
            weight = full(module)["weight"]
            weight_slices["weight"] = weight.then(chain(narrow(dim), centred(kernel, kernel, dim=2)))
            return weight_slices
        largest, squeezed = self.largest[name], dim // 4
        kernels = dim // int(group_channels or 1)

        def outputs(weight: Tensor) -> Tensor:
            # They are kernels, (channel or group, row, column).
            rows = weight.unflatten(0, (-1, largest, largest)).narrow(0, 0, kernels)
            return centre(rows, kernel, kernel, dim=1)

        generate, middle = full(module.generate), Merge(outputs, 0, 3)
        generate["weight"] = generate["weight"].then(chain(narrow(squeezed, dim=1), middle))
        generate["bias"] = generate["bias"].then(middle)
        bias = {"bias": full(module)["bias"].then(narrow(dim))} if dynamic == "homogeneous" else {}
        return (
            prefixed("reduce", first_entries(module.reduce, squeezed, dim))
            | prefixed("norm", first_entries(module.norm, squeezed))
            | prefixed("generate", generate)
            | bias
        )


def plain(m: DepthwiseConvolution, x: Tensor) -> Tensor:
    """Compute the block as the paper's code does, on a channels-first copy of the map."""
    x = x.permute(0, 3, 1, 2).contiguous()
    x = F.relu(m.norm_in(m.pointwise_in(x)))
    x = F.relu(m.norm(_plain_depthwise(m.depthwise, x)))
    return m.norm_out(m.pointwise_out(x)).permute(0, 2, 3, 1).contiguous()


def _plain_depthwise(m: nn.Module, x: Tensor) -> Tensor:
    B, C, H, W = x.shape
    if isinstance(m, DynamicDepthwise):
        k = m.kernel_size
        pooled = F.adaptive_avg_pool2d(x, 1)
        kernels = m.generate(F.relu(m.norm(m.reduce(pooled)))).reshape(B * C, 1, k, k)
        out = F.conv2d(x.reshape(1, B * C, H, W), kernels, padding=k // 2, groups=B * C).view(B, C, H, W)
        return out + m.bias.view(1, -1, 1, 1)
    if isinstance(m, InhomogeneousDepthwise):
        k, shared = m.kernel_size, m.group_channels
        kernels = m.generate(F.relu(m.norm(m.reduce(x)))).view(B, C // shared, k * k, H, W).unsqueeze(2)
        patches = F.unfold(x, k, padding=k // 2).view(B, C // shared, shared, k * k, H, W)
        return (kernels * patches).sum(dim=3).view(B, C, H, W)
    return m(x)


MIXER = Mixer(blueprint, ElasticDepthwise, plain)
