"""The macro parts between blocks: stems, downsamplings and the style of the blocks themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from search_spaces.checks import is_number
from search_spaces.errors import ArchitectureError, nearest


@dataclass(frozen=True)
class Convolution:
    """Geometry of a strided convolution that is followed by LayerNorm.

    Args:
        kernel_size: Side of the kernel.
        stride: Step in both directions.
        padding: Zeros added on each side.
    """

    kernel_size: int
    stride: int
    padding: int

    def output(self, size: int) -> int:
        """Return the side of the output map for an input side ``size``."""
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1


@dataclass(frozen=True)
class ConvolutionalPatches:
    """Geometry of Refiner-ViT's stem: three convolutions, the first of stride 2, and patches of their map.

    Args:
        patch_size: Side of a patch in the image.
    """

    patch_size: int

    #: Kernel side and channels of the convolutions, each followed by BatchNorm.
    CONVOLUTIONS: ClassVar[tuple[tuple[int, int], ...]] = ((7, 32), (3, 64), (3, 128))

    @property
    def kernel_size(self) -> int:
        """Side of a patch in the convolutions' map."""
        return self.patch_size // 2

    def half(self, size: int) -> int:
        """Return the side of the convolutions' map for an input side ``size``."""
        return Convolution(7, 2, 3).output(size)

    def output(self, size: int) -> int:
        """Return the side of the output map for an input side ``size``."""
        return self.half(size) // self.kernel_size


_PATCHES = (2, 8, 14, 16, 32)

#: Stems: Twins/Swin/DWNet patchify, CSWin overlapping embedding, two for images of 28-64 px, patches of other
#: sides (ViT) and Refiner-ViT's convolutions before patches.
STEMS: dict[str, Convolution | ConvolutionalPatches] = {
    "patch4x4": Convolution(4, 4, 0),
    "conv7x7_s4": Convolution(7, 4, 2),
    "conv3x3_s2": Convolution(3, 2, 1),
    "conv3x3_s1": Convolution(3, 1, 1),
    **{f"patch{side}x{side}": Convolution(side, side, 0) for side in _PATCHES},
    **{f"refiner{side}x{side}": ConvolutionalPatches(side) for side in (4, 8, 16, 32)},
}

#: What the classifier reads: the mean over positions, a class token (ViT), or the class token and half of the
#: largest logits that a second classifier finds at any position (Refiner-ViT, after token labelling).
HEADS = ("mean", "token", "dense_token")

#: Downsamplings between stages: Twins, CSWin, and Swin's patch merging (2x2 neighbours concatenated).
DOWNSAMPLES: dict[str, Convolution] = {
    "conv2x2": Convolution(2, 2, 0),
    "conv3x3": Convolution(3, 2, 1),
    "merging": Convolution(2, 2, 0),
}


def stem_size(stem: str, size: int) -> int:
    """Return the side of the first stage's map for an image side of ``size`` pixels."""
    return STEMS[stem].output(size)


def downsampled_size(downsample: str, size: int) -> int:
    """Return the side of the next stage's map; patch merging pads odd maps."""
    return -(-size // 2) if downsample == "merging" else DOWNSAMPLES[downsample].output(size)


@dataclass(frozen=True)
class Style:
    """How the blocks of a skeleton are put together, where papers differ.

    Args:
        norm_eps: Epsilon of the LayerNorms of blocks (Twins 1e-6, CSWin and Swin 1e-5).
        qkv_bias: Whether query, key and value projections have a bias.
        mixer_norm: Norm before the operator: ``layer``, or ``none`` (DWNet's operator norms inside).
        mlp_norm: Norm before the MLP: ``layer``, or ``batch`` (DWNet).
        mlp_scale: Multiply the MLP's output by a learned vector (Refiner-ViT).
        residual_scale: What a residual branch reads is multiplied by it, what it adds divided (Refiner-ViT
            0.5): ``x + f(norm(s x)) / s``.
        stem_norm: Whether a LayerNorm follows the stem's one convolution.
        head: What the classifier reads, one of ``HEADS``; those with a class token have one stage, where
            learned positions are added after the stem.
    """

    norm_eps: float = 1e-6
    qkv_bias: bool = True
    mixer_norm: str = "layer"
    mlp_norm: str = "layer"
    mlp_scale: bool = False
    residual_scale: float = 1.0
    stem_norm: bool = True
    head: str = "mean"

    def __post_init__(self) -> None:
        words = (("mixer_norm", ("layer", "none")), ("mlp_norm", ("layer", "batch")), ("head", HEADS))
        for name, allowed in words:
            value = getattr(self, name)
            if value not in allowed:
                raise ArchitectureError(f"style {name} '{value}' is unknown ({nearest(str(value), allowed)})")
        if not isinstance(self.norm_eps, float) or self.norm_eps <= 0:
            raise ArchitectureError(f"style norm_eps must be a small positive number, not {self.norm_eps!r}")
        scale = self.residual_scale
        if not is_number(scale) or not 0 < scale < math.inf:
            raise ArchitectureError(f"style residual_scale must be a positive number, not {scale!r}")
        object.__setattr__(self, "residual_scale", float(scale))
        for name in ("qkv_bias", "mlp_scale", "stem_norm"):
            if not isinstance(getattr(self, name), bool):
                raise ArchitectureError(f"style {name} must be true or false, not {getattr(self, name)!r}")

    @property
    def class_token(self) -> bool:
        """Whether a class token goes before the positions."""
        return self.head != "mean"

    def to_json(self) -> dict[str, object]:
        """Return the fields that differ from the default, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, value: object) -> Style:
        """Read what ``to_json`` wrote.

        Raises:
            ArchitectureError: If a field is unknown or a value is not allowed.
        """
        if not isinstance(value, dict):
            raise ArchitectureError(f"style must be an object, not {value!r}")
        known = [f.name for f in fields(cls)]
        for name in value:
            if name not in known:
                raise ArchitectureError(f"style has no field '{name}' ({nearest(str(name), known)})")
        return cls(**value)
