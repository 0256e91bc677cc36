"""The macro parts between blocks: stems, downsamplings and the style of the blocks themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields

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


#: Stems: Twins/Swin/DWNet patchify, CSWin overlapping embedding, and two for images of 28-64 px.
STEMS: dict[str, Convolution] = {
    "patch4x4": Convolution(4, 4, 0),
    "conv7x7_s4": Convolution(7, 4, 2),
    "conv3x3_s2": Convolution(3, 2, 1),
    "conv3x3_s1": Convolution(3, 1, 1),
}

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
    """

    norm_eps: float = 1e-6
    qkv_bias: bool = True
    mixer_norm: str = "layer"
    mlp_norm: str = "layer"

    def __post_init__(self) -> None:
        for name, allowed in (("mixer_norm", ("layer", "none")), ("mlp_norm", ("layer", "batch"))):
            value = getattr(self, name)
            if value not in allowed:
                raise ArchitectureError(f"style {name} '{value}' is unknown ({nearest(str(value), allowed)})")
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, float) or self.norm_eps <= 0:
            raise ArchitectureError(f"style norm_eps must be a small positive number, not {self.norm_eps!r}")
        if not isinstance(self.qkv_bias, bool):
            raise ArchitectureError(f"style qkv_bias must be true or false, not {self.qkv_bias!r}")

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
