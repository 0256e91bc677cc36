"""study-ce7caaf679bc: an image classifier whose attention design was found by neural architecture search.

Design ce7caaf679bc; a block is written operator(knobs)+position·MLP ratio:

    stage 1: dwconv(k5)·2
    stage 2: dwconv(k3)·1

Maps are channels-last, (B, H, W, C). Needs torch, and safetensors to read the weights:

    from model import load_model, normalise

    images = ...  # uint8, (B, 3, 16, 16)
    logits = load_model()(normalise(images))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_SIZE = (16, 16)
MEAN = (0.488, 0.4879, 0.4875)
STD = (0.2763, 0.2766, 0.274)


# -- The position-wise MLP of a block.


class FeedForward(nn.Module):
    """Two linear layers with the exact (erf) GELU between, at every position alike.

    ``FFN(x) = fc2(GELU(fc1(x)))``, times ``scale`` where there is one (ViT, arXiv 2010.11929, section 3.1).

    Args:
        dim: Channels.
        hidden_dim: Channels between the layers.
        scaled: Multiply the output by a learned vector (Refiner-ViT).
    """

    def __init__(self, dim: int, hidden_dim: int, scaled: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.ones(dim)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to the same shape."""
        x = self.fc2(gelu(self.fc1(x)))
        return x if self.scale is None else x * self.scale


def gelu(x: Tensor) -> Tensor:
    """Return ``GELU(x)``; where no gradient is asked for, in the memory of ``x``, a block's widest map."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


# -- What makes the first map and what shrinks maps between stages.


class ConvStem(nn.Module):
    """A strided convolution and LayerNorm: patchify (Twins, Swin) or overlapping patches (CSWin).

    Args:
        in_channels: Channels of the images.
        dim: Channels of the map.
        kernel_size: Side of a patch.
        stride: Distance of patches.
        padding: Zeros around the image.
        norm: Whether a LayerNorm follows.
    """

    def __init__(
        self, in_channels: int, dim: int, kernel_size: int, stride: int, padding: int, norm: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to ``(B, H', W', C)``."""
        return self.norm(self.conv(images).permute(0, 2, 3, 1))


class ConvDownsample(nn.Module):
    """A convolution of stride 2 and LayerNorm: 2x2 (Twins) or 3x3 (CSWin).

    Args:
        dim: Channels before.
        out_dim: Channels after.
        kernel_size: Side of the kernel.
        padding: Zeros around the map.
    """

    def __init__(self, dim: int, out_dim: int, kernel_size: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, kernel_size, 2, padding)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to ``(B, H', W', C')``."""
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


# -- Depth-wise convolution, static and dynamic (Demystifying Local ViT, arXiv 2106.04263, sections 2, 3).


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


# -- The plain network: a stem, stages of blocks, a norm, a mean over positions and a linear head.


class Block(nn.Module):
    """A residual token mixer followed by a residual MLP.

    ``x = before(x); x = x + mixer(norm1(x)); x = x + mlp(norm2(x)); return after(x)``

    Args:
        mixer: The operator, ``(B, H, W, C) -> (B, H, W, C)``.
        mlp: The position-wise MLP.
        norm1: Norm before the mixer.
        norm2: Norm before the MLP.
        before: Positional encoding of the block's input (absolute positions).
        after: Positional encoding of the block's output (PEG).
        drop_path: Probability of dropping a residual branch of an image in training (stochastic depth,
            arXiv 1603.09382).
    """

    def __init__(
        self,
        mixer: nn.Module,
        mlp: nn.Module,
        norm1: nn.Module,
        norm2: nn.Module,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.norm1 = norm1
        self.mixer = mixer
        self.norm2 = norm2
        self.mlp = mlp
        self.after = after or nn.Identity()
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        return self.after(self.feed(self.mix(x)))

    def mix(self, x: Tensor) -> Tensor:
        """Apply the first half, the token mixer."""
        x = self.before(x)
        return x + self.dropped(self.mixer(self.norm1(x)))

    def feed(self, x: Tensor) -> Tensor:
        """Apply the second half, the MLP."""
        return x + self.dropped(self.mlp(self.norm2(x)))

    def dropped(self, branch: Tensor) -> Tensor:
        """Zero the branch of some images and scale up the others, in training only."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        mask = torch.rand(branch.shape[0], 1, 1, 1, device=branch.device) < keep
        return branch * mask.to(branch.dtype) / keep


class Stage(nn.Module):
    """Blocks on maps of one size, after the downsampling that makes them.

    Args:
        blocks: The blocks, first to last.
        downsample: What shrinks the previous stage's map; None in the first stage.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.downsample = downsample or nn.Identity()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map the previous stage's ``(B, H, W, C)`` to this stage's."""
        return self.blocks(self.downsample(x))


class Network(nn.Module):
    """An image classifier that is also a backbone.

    Args:
        stem: Turns images ``(B, 3, H, W)`` into the first map ``(B, H', W', C)``.
        stages: The stages, first to last.
        dim: Channels of the last stage.
        num_classes: Outputs of the classifier.
        norm_eps: Epsilon of the last LayerNorm.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], dim: int, num_classes: int, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = nn.Linear(dim, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the map ``(B, H, W, C)`` of every stage, for dense prediction."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 3, H, W)`` to logits ``(B, num_classes)``."""
        return self.classify(self.features(images)[-1])

    def classify(self, x: Tensor) -> Tensor:
        """Map the last stage's ``(B, H, W, C)`` to logits."""
        return self.head(self.norm(x).mean(dim=(1, 2)))


# -- This network.


def create_model() -> Network:
    """Return the network with untrained weights."""
    return Network(
        stem=ConvStem(in_channels=3, dim=8, kernel_size=3, stride=2, padding=1),
        stages=[
            Stage(
                blocks=[
                    Block(
                        mixer=DepthwiseConvolution(dim=8, kernel_size=5),
                        mlp=FeedForward(dim=8, hidden_dim=16),
                        norm1=nn.LayerNorm(8, eps=1e-6),
                        norm2=nn.LayerNorm(8, eps=1e-6),
                    ),
                ],
            ),
            Stage(
                blocks=[
                    Block(
                        mixer=DepthwiseConvolution(dim=16, kernel_size=3),
                        mlp=FeedForward(dim=16, hidden_dim=16),
                        norm1=nn.LayerNorm(16, eps=1e-6),
                        norm2=nn.LayerNorm(16, eps=1e-6),
                    ),
                ],
                downsample=ConvDownsample(dim=8, out_dim=16, kernel_size=2, padding=0),
            ),
        ],
        dim=16,
        num_classes=3,
        norm_eps=1e-6,
    )


def load_model(weights: str | Path | None = None) -> Network:
    """Return the network with its trained weights, ready for inference.

    Args:
        weights: A safetensors file; ``model.safetensors`` beside this file where it is left out.
    """
    from safetensors.torch import load_file

    model = create_model()
    model.load_state_dict(load_file(str(weights or Path(__file__).with_name("model.safetensors"))))
    return model.eval()


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 images ``(B, C, H, W)`` into what the network was trained on."""
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std
