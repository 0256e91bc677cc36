"""Stems, from images to the first map, and the downsamplings between stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.kernels import is_symbolic


class ConvStem(nn.Module):
    """A strided convolution and LayerNorm: patchify (Twins, Swin) or overlapping patches (CSWin, PVTv2).

    Args:
        in_channels: Channels of the images.
        dim: Channels of the map.
        kernel_size: Side of a patch, or its height and width.
        stride: Distance of patches, or that of rows and of columns.
        padding: Zeros around the image, or above and below, left and right.
        norm: Whether a LayerNorm follows.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, int],
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to ``(B, H', W', C)``."""
        return self.norm(self.conv(images).permute(0, 2, 3, 1))


class RefinerStem(nn.Module):
    """Three convolutions and a patch embedding, as in Refiner-ViT's published code (arXiv 2106.03714).

    The first convolution has stride 2, so that the patch embedding's patches are ``patch_size / 2`` wide;
    rows and columns at the bottom and right that fill no patch are ignored.

    Args:
        in_channels: Channels of the images.
        dim: Channels of the map.
        patch_size: Side of a patch in the image.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 7, 2, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(128)
        self.proj = nn.Conv2d(128, dim, patch_size // 2, patch_size // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to ``(B, H / patch_size, W / patch_size, C)``."""
        x = F.relu(self.norm1(self.conv1(images)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.norm3(self.conv3(x)))
        return self.proj(x).permute(0, 2, 3, 1)


class TokenStem(nn.Module):
    """A class token before the positions of a map, and learned positions added to all (arXiv 2010.11929).

    Args:
        stem: Turns images into the first map.
        height: Rows of the map that the positions are declared for.
        width: Columns of that map.
        dim: Channels.
    """

    def __init__(self, stem: nn.Module, height: int, width: int, dim: int) -> None:
        super().__init__()
        self.patches = stem
        self.size = (height, width)
        self.token = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.table = nn.Parameter(torch.zeros(1, 1, 1 + height * width, dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to a sequence ``(B, 1, 1 + N, C)``."""
        return self.sequence(self.patches(images))

    def sequence(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to a sequence; positions are interpolated to maps of other sizes."""
        table: Tensor = self.table
        if is_symbolic(*x.shape[1:3]) or x.shape[1:3] != self.size:
            positions = table[:, 0, 1:].unflatten(1, self.size).permute(0, 3, 1, 2)
            positions = F.interpolate(positions, size=x.shape[1:3], mode="bilinear")
            table = torch.cat([table[:, :, :1], positions.flatten(2).transpose(1, 2).unsqueeze(1)], dim=2)
        token = self.token.expand(x.shape[0], -1, -1, -1)
        return torch.cat([token, x.flatten(1, 2).unsqueeze(1)], dim=2) + table


class ConvDownsample(nn.Module):
    """A strided convolution and LayerNorm: 2x2 (Twins), 3x3 (CSWin) or of another side.

    Args:
        dim: Channels before.
        out_dim: Channels after.
        kernel_size: Side of the kernel, or its height and width.
        padding: Zeros around the map, or above and below, left and right.
        stride: Distance of kernels, or that of rows and of columns.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel_size: int | tuple[int, int],
        padding: int | tuple[int, int],
        stride: int | tuple[int, int] = 2,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to ``(B, H', W', C')``."""
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Concatenate 2x2 neighbours, LayerNorm, and a linear layer (Swin, arXiv 2103.14030, section 3.1).

    Args:
        dim: Channels before.
        out_dim: Channels after.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to ``(B, H/2, W/2, C')``; odd maps are padded right and bottom."""
        H, W = x.shape[1:3]
        if H % 2 or W % 2:
            x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))
