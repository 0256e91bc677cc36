"""The style of a skeleton: how its blocks are put together and what its classifier reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from search_spaces.checks import is_number
from search_spaces.errors import ArchitectureError, nearest

#: What the classifier reads: the mean over positions, a class token (ViT), or the class token and half of the
#: largest logits that a second classifier finds at any position (Refiner-ViT, after token labelling).
HEADS = ("mean", "token", "dense_token")


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
