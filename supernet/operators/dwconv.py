"""Depth-wise convolution, static and dynamic (Demystifying Local ViT, arXiv 2106.04263, sections 2, 3).

The paper reads local attention as a depth-wise convolution whose weights come from the content. Its
block is: point-wise, BatchNorm, ReLU; depth-wise, BatchNorm, ReLU; point-wise, BatchNorm. The
depth-wise kernel is learned (static), computed for each image (homogeneous), or computed for each
position and group of channels (inhomogeneous).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.blueprint import Call, call
from supernet.elastic import Elastic, Mixer, Projections, WeightSlices, centre, centred, full, prefixed


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
        if torch.compiler.is_exporting():
            # ONNX fixes a convolution's groups, so an exported batch of any size multiplies patches instead.
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
        kernel_size: Side of the depth-wise kernel.
        dynamic: ``none``, ``homogeneous`` or ``inhomogeneous``.
        group_channels: Channels that share a kernel, of the inhomogeneous form.
    """

    def __init__(
        self, dim: int, kernel_size: int, *, dynamic: str = "none", group_channels: int | None = None
    ) -> None:
        super().__init__()
        self.pointwise_in = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm_in = nn.BatchNorm2d(dim)
        self.depthwise: nn.Module
        if dynamic == "homogeneous":
            self.depthwise = DynamicDepthwise(dim, kernel_size)
        elif dynamic == "inhomogeneous":
            assert group_channels is not None, "the inhomogeneous form needs group_channels"
            self.depthwise = InhomogeneousDepthwise(dim, kernel_size, group_channels)
        else:
            self.depthwise = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
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
    knobs = dict(block.knobs)
    return call(
        DepthwiseConvolution,
        feature_map.dim,
        knobs["kernel_size"],
        dynamic=None if knobs["dynamic"] == "none" else knobs["dynamic"],
        group_channels=knobs.get("group_channels"),
    )


class ElasticDepthwise(Elastic):
    """Weights of depth-wise convolutions: smaller kernels are the middle of the largest one.

    Point-wise convolutions and norms are common to all forms; static, homogeneous and each group width
    of inhomogeneous kernels have makers of their own.
    """

    def __init__(self, blocks: Sequence[Block], feature_map: FeatureMap, projections: Projections) -> None:
        super().__init__()
        largest: dict[str, int] = {}
        for block in blocks:
            form = _form(block)
            largest[form] = max(largest.get(form, 0), int(block.knob("kernel_size")))
        self.common = DepthwiseConvolution(feature_map.dim, 3)
        del self.common.depthwise  # each form brings its own
        self.forms = nn.ModuleDict()
        for form, kernel in largest.items():
            dynamic, _, group = form.partition("-")
            self.forms[form] = DepthwiseConvolution(
                feature_map.dim, kernel, dynamic=dynamic, group_channels=int(group) if group else None
            ).depthwise

    def weight_slices(self, block: Block, feature_map: FeatureMap) -> WeightSlices:
        """Return cuts named as ``DepthwiseConvolution`` names its parameters.

        All give views but the makers of smaller dynamic kernels, whose outputs do not lie side by side.
        """
        kernel, form = int(block.knob("kernel_size")), _form(block)
        depthwise = full(self.forms[form])
        if form == "none":
            depthwise["weight"] = depthwise["weight"].then(centred(kernel, kernel, dim=2))
        else:
            largest = int(self.forms[form].kernel_size)  # type: ignore[arg-type]

            def middle(full: Tensor) -> Tensor:
                # Outputs of the maker are kernels, (channel or group, row, column).
                kernels = full.view(-1, largest, largest, *full.shape[1:])
                return centre(kernels, kernel, kernel, dim=1).flatten(0, 2)

            for name in ("generate.weight", "generate.bias"):
                depthwise[name] = depthwise[name].then(middle)
        return full(self.common) | prefixed("depthwise", depthwise)


def _form(block: Block) -> str:
    knobs = dict(block.knobs)
    group = knobs.get("group_channels")
    return str(knobs["dynamic"]) if group is None else f"{knobs['dynamic']}-{group}"


MIXER = Mixer(blueprint, ElasticDepthwise)
