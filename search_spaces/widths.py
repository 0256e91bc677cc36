"""What the width and the heads of a stage may be.

Heads are chosen by their number or by their width, whichever is declared; every combination with a width is a
choice. A choice with one option is no decision, so spaces of a fixed width have the decisions that they always had.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from search_spaces.errors import SpaceError

if TYPE_CHECKING:
    from search_spaces.architecture import Stage


@dataclass(frozen=True)
class WidthChoices:
    """The widths of a stage and the attention heads of each.

    Args:
        dims: Numbers of channels C to choose from, ascending.
        num_heads: Numbers of heads to choose from, ascending; empty where ``head_dims`` are given.
        head_dims: Channels of a head to choose from, ascending; the number of heads follows from the width.

    Raises:
        SpaceError: If a width cannot be divided into heads, or both or neither kind of heads are given.
    """

    dims: tuple[int, ...]
    num_heads: tuple[int, ...] = ()
    head_dims: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.num_heads) == bool(self.head_dims):
            raise SpaceError("a stage needs either num_heads or head_dim, not both")
        for dim in self.dims:
            for head_dim in self.head_dims:
                if dim % head_dim:
                    raise SpaceError(
                        f"dim {dim} cannot be divided into heads of head_dim {head_dim}; every dim must be a "
                        "multiple of every head_dim"
                    )

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Every ``(dim, num_heads)``, narrow ones first."""
        return tuple((dim, self._heads(dim, option)) for dim in self.dims for option in self.head_options)

    @property
    def head_options(self) -> tuple[int, ...]:
        """The options of whichever knob decides on the heads."""
        return self.num_heads or self.head_dims

    @property
    def head_knob(self) -> str:
        """The knob that decides on the heads: ``num_heads`` or ``head_dim``."""
        return "num_heads" if self.num_heads else "head_dim"

    @property
    def largest(self) -> tuple[int, int]:
        """The largest number of channels, and the largest number of heads at any width."""
        return max(self.dims), max(heads for _, heads in self.pairs)

    @property
    def widest(self) -> WidthChoices:
        """The choices of heads at the largest number of channels alone."""
        dim = max(self.dims)
        return WidthChoices((dim,), tuple(sorted(heads for width, heads in self.pairs if width == dim)))

    @property
    def head_groups(self) -> int:
        """How many equal groups the heads of every choice can be divided into: their greatest common divisor."""
        return math.gcd(*(heads for _, heads in self.pairs))

    def decisions(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the knobs that have more than one option, with their options."""
        for knob, options in (("dim", self.dims), (self.head_knob, self.head_options)):
            if len(options) > 1:
                yield knob, options

    def assemble(self, name: str, values: Mapping[str, Any]) -> tuple[int, int]:
        """Return the ``(dim, num_heads)`` that the decisions ``values`` of the stage called ``name`` make."""
        dim = values.get(f"{name}.dim", self.dims[0])
        return dim, self._heads(dim, values.get(f"{name}.{self.head_knob}", self.head_options[0]))

    def values(self, name: str, stage: Stage) -> Iterator[tuple[str, int]]:
        """Yield the decisions that make the width and heads of ``stage``, which is called ``name``."""
        yield f"{name}.dim", stage.dim
        heads = stage.num_heads if self.num_heads else stage.dim // stage.num_heads
        yield f"{name}.{self.head_knob}", heads

    def incompatibilities(self, name: str, stage: Stage) -> Iterator[str]:
        """Yield what keeps the width and heads of ``stage``, which is called ``name``, from being one of these."""
        if stage.dim not in self.dims:
            yield f"{name} has dim {stage.dim}, not {_any_of(self.dims)}"
        # Where the width is none of these, heads that any of them has are not held against the stage.
        fitting = sorted({heads for dim, heads in self.pairs if dim == stage.dim})
        heads = fitting or sorted({heads for _, heads in self.pairs})
        if stage.num_heads not in heads:
            yield f"{name} has num_heads {stage.num_heads}, not {_any_of(heads)}"

    def _heads(self, dim: int, option: int) -> int:
        return option if self.num_heads else dim // option


def _any_of(options: tuple[int, ...] | list[int]) -> str:
    *others, last = map(str, options)
    return f"{', '.join(others)} or {last}" if others else last
