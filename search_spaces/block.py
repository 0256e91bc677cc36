"""Block: one token mixer with its knobs, a positional encoding and an MLP.

A block holds only the knobs of its own operator, so a choice that is not active cannot alter the digest of an
architecture. Import it from ``search_spaces.architecture``, beside the stages that hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.checks import is_number
from search_spaces.errors import ArchitectureError, SpaceError, nearest
from search_spaces.operators import (
    POSITIONS,
    FeatureMap,
    KnobValue,
    OperatorSpec,
    operator,
    state_with_operator,
    state_without_operator,
)


@dataclass(frozen=True)
class Block:
    """One block: a token mixer with its knobs, a positional encoding and an MLP.

    Args:
        operator: Name of the token mixer.
        knobs: The operator's knobs, sorted by name; give a mapping or pairs.
        pos: Positional encoding: ``ape`` is added to the block's input, ``cpe`` (PEG) is applied to its
            output as in Twins, ``rpe`` and ``lepe`` live inside the attention.
        mlp_ratio: Hidden width of the MLP over the width of the stage.

    Raises:
        ArchitectureError: If a knob is unknown, missing or out of range, or the operator does not admit
            the encoding.
    """

    operator: str
    knobs: tuple[tuple[str, KnobValue], ...]
    pos: str = "none"
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        try:
            spec = operator(self.operator)
        except SpaceError as error:
            raise ArchitectureError(str(error)) from None
        pairs = self.knobs.items() if isinstance(self.knobs, Mapping) else self.knobs
        given = {str(name): value for name, value in pairs}
        if why := spec.validation_error(spec.with_defaults(given)):
            raise ArchitectureError(why)
        chosen = ((name, value) for name, value in given.items() if value != spec.knobs[name].default)
        object.__setattr__(self, "knobs", tuple(sorted(chosen)))
        if self.pos not in POSITIONS:
            raise ArchitectureError(
                f"unknown positional encoding '{self.pos}' ({nearest(str(self.pos), POSITIONS)})"
            )
        if self.pos not in spec.pos:
            raise ArchitectureError(
                f"operator '{self.operator}' does not admit the positional encoding '{self.pos}' "
                f"(it admits: {', '.join(spec.pos)})"
            )
        if spec.pos_has_no_effect(self.settings, self.pos):
            raise ArchitectureError(f"the encoding '{self.pos}' has nothing to act on in {self}")
        ratio = self.mlp_ratio
        if not is_number(ratio) or not 0 < ratio <= 16:
            raise ArchitectureError(f"mlp_ratio must be a number above 0 and at most 16, not {ratio!r}")
        object.__setattr__(self, "mlp_ratio", float(ratio))

    @property
    def spec(self) -> OperatorSpec:
        """The operator's declaration."""
        return operator(self.operator)

    @cached_property
    def settings(self) -> Mapping[str, KnobValue]:
        """The knobs by name, defaults included."""
        return self.spec.with_defaults(dict(self.knobs))

    @cached_property
    def needs_previous_attention(self) -> bool:
        """Whether the operator applies the attention maps of the block before."""
        return self.spec.needs_previous_attention(self.settings)

    def knob(self, name: str) -> KnobValue:
        """Return the value of the knob ``name`` of this block's operator."""
        return self.settings[name]

    def hidden_dim(self, dim: int) -> int:
        """Return the hidden width of the MLP in a stage of width ``dim``."""
        return int(dim * self.mlp_ratio)

    def incompatibility(self, feature_map: FeatureMap) -> str | None:
        """Return why this block cannot work on ``feature_map``, or None."""
        if self.hidden_dim(feature_map.dim) < 1:
            return f"mlp_ratio {self.mlp_ratio:g} leaves no hidden channels on {feature_map}"
        if feature_map.class_token and (not self.spec.admits_class_token or self.pos != "none"):
            return (
                f"a class token has no place on the map that '{self.operator}' with pos {self.pos} reads; "
                "use refiner or gsa with pos none"
            )
        return self.spec.incompatibility(self.settings, feature_map)

    def to_json(self) -> dict[str, object]:
        """Return a plain object: operator, its knobs by name, pos, mlp_ratio."""
        return {"operator": self.operator, **dict(self.knobs), "pos": self.pos, "mlp_ratio": self.mlp_ratio}

    @classmethod
    def from_json(cls, value: object) -> Block:
        """Read what ``to_json`` wrote.

        Raises:
            ArchitectureError: If the object is not a valid block.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("operator"), str):
            raise ArchitectureError(f"a block must be an object with an 'operator', not {value!r}")
        rest = {k: v for k, v in value.items() if k not in ("operator", "pos", "mlp_ratio")}
        return cls(
            value["operator"], tuple(rest.items()), value.get("pos", "none"), value.get("mlp_ratio", 4.0)
        )

    def __getstate__(self) -> dict[str, Any]:
        return state_with_operator(vars(self), self.operator)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state_without_operator(state))

    def __str__(self) -> str:
        active = [(name, value) for name, value in self.knobs if value != "none"]
        knobs = "".join(f"{self.spec.short.get(name, name)}{value}" for name, value in active)
        pos = "" if self.pos == "none" else f"+{self.pos}"
        return f"{self.operator}({knobs}){pos}·{self.mlp_ratio:g}"
