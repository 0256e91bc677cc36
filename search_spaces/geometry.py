"""Stems and downsamplings by name: families with a grammar, and the size of the map that each leaves.

A stem is ``patch<k>x<k>``, ``conv<k>x<k>_s<stride>`` or ``refiner<k>x<k>``; a downsampling is ``conv<k>x<k>`` or
``merging``. One geometry has one name, so that equal designs have equal digests. Convolutions are padded by
``(kernel - stride) / 2`` zeros on each side, rounded up, which is what the papers' own do (CSWin's stem of 7x7 pixels
every 4 by 2, its downsampling of 3x3 every 2 by 1; patches by none): maps have one position for every stride.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from search_spaces.errors import ArchitectureError, closest


@dataclass(frozen=True)
class Convolution:
    """Geometry of a strided convolution that is followed by LayerNorm.

    Args:
        kernel_size: Side of the kernel.
        stride: Step in both directions.
    """

    kernel_size: int
    stride: int

    @property
    def padding(self) -> int:
        """Zeros added on each side."""
        return (self.kernel_size - self.stride + 1) // 2

    def output(self, size: int) -> int:
        """Return the side of the output map for an input side ``size``."""
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1


@dataclass(frozen=True)
class ConvolutionalPatches:
    """Geometry of Refiner-ViT's stem: three convolutions, the first of stride 2, and patches of their map.

    Args:
        patch_size: Side of a patch in the image, an even number of pixels.
    """

    patch_size: int

    #: Kernel side and channels of the convolutions, each followed by BatchNorm.
    CONVOLUTIONS: ClassVar[tuple[tuple[int, int], ...]] = ((7, 32), (3, 64), (3, 128))

    @property
    def stride(self) -> int:
        """Pixels of the image from one patch to the next."""
        return self.patch_size

    @property
    def kernel_size(self) -> int:
        """Side of a patch in the convolutions' map."""
        return self.patch_size // 2

    def half(self, size: int) -> int:
        """Return the side of the convolutions' map for an input side ``size``."""
        return Convolution(7, 2).output(size)

    def output(self, size: int) -> int:
        """Return the side of the output map for an input side ``size``."""
        return self.half(size) // self.kernel_size


@dataclass(frozen=True)
class Merging:
    """Geometry of Swin's patch merging: 2x2 neighbours concatenated; odd maps are padded right and bottom."""

    stride: ClassVar[int] = 2

    def output(self, size: int) -> int:
        """Return the side of the output map for an input side ``size``."""
        return -(-size // 2)


_SIDE = "([1-9][0-9]{0,2})"
_NUMBER = re.compile(_SIDE)
_STEM = re.compile(f"(patch|refiner|conv){_SIDE}x{_SIDE}(?:_s{_SIDE})?")
_DOWNSAMPLE = re.compile(f"conv{_SIDE}x{_SIDE}")
_STEM_GRAMMAR = (
    "a stem is patch<k>x<k>, conv<k>x<k>_s<stride> with a stride below k, or refiner<k>x<k> with an even k, "
    "k at most 999"
)
_DOWNSAMPLE_GRAMMAR = "a downsample is merging, or conv<k>x<k> with k from 2 to 999, whose stride is 2"
#: What words without numbers are compared with: the stems of the papers and of images below 65 px.
_USUAL_STEMS = ("patch4x4", "patch16x16", "conv7x7_s4", "conv3x3_s1", "conv3x3_s2", "refiner16x16")
_USUAL_DOWNSAMPLES = ("conv2x2", "conv3x3", "merging")


def stem_geometry(name: object) -> Convolution | ConvolutionalPatches:
    """Return the geometry of a stem: of patches (Twins, Swin, ViT), overlapping ones (CSWin), or Refiner-ViT's.

    Raises:
        ArchitectureError: If no stem is called so, or pixels between its kernels would be skipped.
    """
    if not isinstance(name, str):
        raise ArchitectureError(f"unknown stem {name!r} ({_STEM_GRAMMAR})")
    return _stem_geometry(name)


@lru_cache(maxsize=1024)
def _stem_geometry(name: str) -> Convolution | ConvolutionalPatches:
    match, hint = _STEM.fullmatch(name), closest(name, _similar_stems(name))
    if match is None or match[2] != match[3] or (match[4] is None) == (match[1] == "conv"):
        raise ArchitectureError(f"unknown stem {name!r} ({_STEM_GRAMMAR}{hint})")
    family, side, stride = match[1], int(match[2]), int(match[4] or match[2])
    if family == "refiner":
        if side % 2:
            raise ArchitectureError(
                f"stem '{name}' has patches of an odd side, but its first convolution halves the image "
                f"({_STEM_GRAMMAR}{hint})"
            )
        return ConvolutionalPatches(side)
    if side < stride:
        raise ArchitectureError(
            f"stem '{name}' would skip pixels between kernels of side {side} every {stride} pixels "
            f"({_STEM_GRAMMAR}{hint})"
        )
    if side == stride and family == "conv":
        raise ArchitectureError(f"stem '{name}' is another name of 'patch{side}x{side}'; write that")
    return Convolution(side, stride)


def _similar_stems(name: str) -> set[str]:
    """Return stems that are made of the numbers in a word, and the usual ones."""
    sides = [int(number) for number in _NUMBER.findall(name)]
    even = [side + side % 2 for side in sides if side < 999]
    return {
        *_USUAL_STEMS,
        *(f"patch{side}x{side}" for side in sides),
        *(f"refiner{side}x{side}" for side in even),
        *(f"conv{side}x{side}_s{stride}" for side in sides for stride in (*sides, 2) if stride < side),
    }


def downsample_geometry(name: object) -> Convolution | Merging:
    """Return the geometry of a downsampling: a convolution (Twins 2x2, CSWin 3x3), or Swin's patch merging.

    Raises:
        ArchitectureError: If none is called so, or pixels between its kernels would be skipped.
    """
    if not isinstance(name, str):
        raise ArchitectureError(f"unknown downsample {name!r} ({_DOWNSAMPLE_GRAMMAR})")
    return _downsample_geometry(name)


@lru_cache(maxsize=1024)
def _downsample_geometry(name: str) -> Convolution | Merging:
    if name == "merging":
        return Merging()
    match = _DOWNSAMPLE.fullmatch(name)
    sides = [int(number) for number in _NUMBER.findall(name)]
    hint = closest(name, {*_USUAL_DOWNSAMPLES, *(f"conv{side}x{side}" for side in sides if side > 1)})
    if match is None or match[1] != match[2]:
        raise ArchitectureError(f"unknown downsample {name!r} ({_DOWNSAMPLE_GRAMMAR}{hint})")
    if match[1] == "1":
        raise ArchitectureError(
            f"downsample '{name}' would skip pixels between kernels of side 1 every 2 pixels "
            f"({_DOWNSAMPLE_GRAMMAR}{hint})"
        )
    return Convolution(int(match[1]), 2)


def stem_size(stem: str, size: int) -> int:
    """Return the side of the first stage's map for an image side of ``size`` pixels."""
    return stem_geometry(stem).output(size)


def downsampled_size(downsample: str, size: int) -> int:
    """Return the side of the next stage's map; patch merging pads odd maps."""
    return downsample_geometry(downsample).output(size)
