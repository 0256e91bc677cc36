"""Stems and downsamplings by name: families with a grammar, and the size of the map that each leaves.

A stem is ``patch<k>x<k>``, ``conv<k>x<k>_s<stride>`` or ``refiner<k>x<k>``; a downsampling is ``merging`` or
``conv<k>x<k>``, whose stride is 2 unless ``_s<stride>`` follows. Patches and kernels need not be square: rows come
before columns, as in ``patch4x8`` or ``conv7x5_s4x2``. One geometry has one name, so that equal designs have equal
digests. Convolutions are padded by ``(kernel - stride) / 2`` zeros on each side, rounded up, as Twins', CSWin's and
Swin's own are: maps have one position for every stride. Another padding is said: PVTv2's stem is ``conv7x7_s4_p3``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from search_spaces.errors import ArchitectureError, closest

#: Of rows and of columns.
Pair = tuple[int, int]


@dataclass(frozen=True)
class Convolution:
    """Geometry of a strided convolution that is followed by LayerNorm; each of rows and of columns.

    Args:
        kernel_size: Sides of the kernel.
        stride: Steps.
        padding: Zeros added at either end.
    """

    kernel_size: Pair
    stride: Pair
    padding: Pair

    @property
    def keeps_ratio(self) -> bool:
        """Whether maps of which the stride divides both sides leave one position for every stride."""
        sides = zip(self.kernel_size, self.stride, self.padding, strict=True)
        return all(0 <= 2 * padding + stride - kernel < stride for kernel, stride, padding in sides)

    def output(self, size: Pair) -> Pair:
        """Return height and width of the output map for an input of ``size``."""
        height, width = (
            (side + 2 * padding - kernel) // stride + 1
            for side, kernel, stride, padding in zip(
                size, self.kernel_size, self.stride, self.padding, strict=True
            )
        )
        return height, width


@dataclass(frozen=True)
class ConvolutionalPatches:
    """Geometry of Refiner-ViT's stem: three convolutions, the first of stride 2, and patches of their map.

    Args:
        patch_size: Side of a patch in the image, an even number of pixels.
    """

    patch_size: int

    #: Kernel side and channels of the convolutions, each followed by BatchNorm.
    CONVOLUTIONS: ClassVar[tuple[tuple[int, int], ...]] = ((7, 32), (3, 64), (3, 128))
    keeps_ratio: ClassVar[bool] = True

    @property
    def stride(self) -> Pair:
        """Pixels of the image from one patch to the next."""
        return self.patch_size, self.patch_size

    @property
    def kernel_size(self) -> Pair:
        """Sides of a patch in the convolutions' map."""
        return self.patch_size // 2, self.patch_size // 2

    def half(self, size: Pair) -> Pair:
        """Return height and width of the convolutions' map for an image of ``size``."""
        return Convolution((7, 7), (2, 2), (3, 3)).output(size)

    def output(self, size: Pair) -> Pair:
        """Return height and width of the output map for an image of ``size``."""
        height, width = self.half(size)
        return height // self.kernel_size[0], width // self.kernel_size[1]


@dataclass(frozen=True)
class Merging:
    """Geometry of Swin's patch merging: 2x2 neighbours concatenated; odd maps are padded right and bottom."""

    stride: ClassVar[Pair] = (2, 2)
    keeps_ratio: ClassVar[bool] = True

    def output(self, size: Pair) -> Pair:
        """Return height and width of the output map for an input of ``size``."""
        return -(-size[0] // 2), -(-size[1] // 2)


_SIDE = "([1-9][0-9]{0,2})"
_PADDING = "(0|[1-9][0-9]{0,2})"
_NUMBER = re.compile(_SIDE)
_PATCHES = re.compile(f"(patch|refiner){_SIDE}x{_SIDE}")
_CONVOLUTION = re.compile(
    f"conv{_SIDE}x{_SIDE}(?P<stride>_s{_SIDE}(?:x{_SIDE})?)?(?:_p{_PADDING}(?:x{_PADDING})?)?"
)
_STEM_GRAMMAR = (
    "a stem is patch<k>x<k>, conv<k>x<k>_s<stride> or conv<k>x<k>_s<stride>_p<padding> with a stride of at most k, "
    "or refiner<k>x<k> with an even k, k at most 999"
)
_DOWNSAMPLE_GRAMMAR = (
    "a downsample is merging, or conv<k>x<k> with k from 2 to 999, whose stride is 2; _s<stride> and _p<padding> "
    "say others"
)
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
    grammar = f"{_STEM_GRAMMAR}{closest(name, _similar_stems(name))}"
    if match := _CONVOLUTION.fullmatch(name):
        if match["stride"] is None:
            raise ArchitectureError(f"unknown stem {name!r} ({grammar})")
        convolution = _read_convolution(match, (1, 1), f"stem '{name}'", grammar)
        _require_own_name("stem", name, _stem_name(convolution))
        return convolution
    match = _PATCHES.fullmatch(name)
    if match is None or (match[1] == "refiner" and match[2] != match[3]):
        raise ArchitectureError(f"unknown stem {name!r} ({grammar})")
    sides = int(match[2]), int(match[3])
    if match[1] == "patch":
        return Convolution(sides, sides, (0, 0))
    if sides[0] % 2:
        raise ArchitectureError(
            f"stem '{name}' has patches of an odd side, but its first convolution halves the image ({grammar})"
        )
    return ConvolutionalPatches(sides[0])


def _read_convolution(match: re.Match[str], stride: Pair, what: str, grammar: str) -> Convolution:
    """Return the convolution that a name says.

    Args:
        match: The name, matched.
        stride: Its stride where the name says none.
        what: The name in words.
        grammar: What may be said.
    """
    rows, columns, _, *said = match.groups()
    kernel = int(rows), int(columns)
    if said[0] is not None:
        stride = int(said[0]), int(said[1] or said[0])
    for side, step in zip(kernel, stride, strict=True):
        if side < step:
            raise ArchitectureError(
                f"{what} would skip pixels between kernels of side {side} every {step} pixels ({grammar})"
            )
    padding = _usual_padding(kernel, stride)
    if said[2] is not None:
        padding = int(said[2]), int(said[3] or said[2])
    for side, zeros in zip(kernel, padding, strict=True):
        if zeros >= side:
            raise ArchitectureError(
                f"{what} has kernels of side {side} that see nothing but {zeros} zeros ({grammar})"
            )
    return Convolution(kernel, stride, padding)


def _usual_padding(kernel: Pair, stride: Pair) -> Pair:
    """Return the zeros at either end that a name does not say."""
    return (kernel[0] - stride[0] + 1) // 2, (kernel[1] - stride[1] + 1) // 2


def _stem_name(convolution: Convolution) -> str:
    """Return the one name of a stem of one convolution."""
    if convolution.stride == convolution.kernel_size and convolution.padding == (0, 0):
        return "patch{}x{}".format(*convolution.kernel_size)
    return _convolution_name(convolution, f"_s{_shortest(convolution.stride)}")


def _downsample_name(convolution: Convolution) -> str:
    """Return the one name of a downsampling by a convolution."""
    stride = convolution.stride
    return _convolution_name(convolution, "" if stride == (2, 2) else f"_s{_shortest(stride)}")


def _convolution_name(convolution: Convolution, stride: str) -> str:
    kernel, padding = convolution.kernel_size, convolution.padding
    usual = _usual_padding(kernel, convolution.stride)
    return f"conv{kernel[0]}x{kernel[1]}{stride}" + ("" if padding == usual else f"_p{_shortest(padding)}")


def _shortest(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _require_own_name(what: str, name: str, own: str) -> None:
    if name != own:
        raise ArchitectureError(f"{what} '{name}' is another name of '{own}'; write that")


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
    match = _CONVOLUTION.fullmatch(name)
    sides = [int(number) for number in _NUMBER.findall(name)]
    hint = closest(name, {*_USUAL_DOWNSAMPLES, *(f"conv{side}x{side}" for side in sides if side > 1)})
    grammar = f"{_DOWNSAMPLE_GRAMMAR}{hint}"
    if match is None:
        raise ArchitectureError(f"unknown downsample {name!r} ({grammar})")
    convolution = _read_convolution(match, (2, 2), f"downsample '{name}'", grammar)
    _require_own_name("downsample", name, _downsample_name(convolution))
    return convolution


def stem_size(stem: str, size: Pair) -> Pair:
    """Return height and width of the first stage's map for an image of ``size`` pixels."""
    return stem_geometry(stem).output(size)


def downsampled_size(downsample: str, size: Pair) -> Pair:
    """Return height and width of the next stage's map; patch merging pads odd maps."""
    return downsample_geometry(downsample).output(size)
