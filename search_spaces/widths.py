"""What the width and the heads of a stage may be.

Either all widths go with all heads, by their number or by their width, or each combination is named by itself. A choice
with one option is no decision, so spaces of a fixed width have the decisions that they always had.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from search_spaces.errors import SpaceError

if TYPE_CHECKING:
    from search_spaces.architecture import Stage

#: Numbers of channels C and of attention heads.
Width = tuple[int, int]


class WidthChoices(ABC):
    """The widths of a stage and the attention heads of each."""

    @property
    @abstractmethod
    def pairs(self) -> tuple[Width, ...]:
        """Every ``(dim, num_heads)``, narrow ones first."""

    @abstractmethod
    def decisions(self) -> Iterator[tuple[str, tuple[int | str, ...]]]:
        """Yield the knobs that have more than one option, with their options."""

    @abstractmethod
    def assemble(self, name: str, values: Mapping[str, Any]) -> Width:
        """Return the ``(dim, num_heads)`` that the decisions ``values`` of the stage called ``name`` make."""

    @abstractmethod
    def values(self, name: str, stage: Stage) -> Iterator[tuple[str, int | str]]:
        """Yield the decisions that make the width and heads of ``stage``, which is called ``name``."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Return the keys of a declaration that make these choices."""

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """Numbers of channels to choose from, ascending."""
        return tuple(sorted({dim for dim, _ in self.pairs}))

    @property
    def largest(self) -> Width:
        """The largest number of channels, and the largest number of heads at any width."""
        return max(dim for dim, _ in self.pairs), max(heads for _, heads in self.pairs)

    @property
    def widest(self) -> WidthChoices:
        """The choices that cost most: where heads are as many at no larger width."""
        return ListedWidths(
            tuple(
                (dim, heads)
                for dim, heads in self.pairs
                if not any(wider > dim and more >= heads for wider, more in self.pairs)
            )
        )

    @property
    def head_groups(self) -> int:
        """How many equal groups the heads of every choice can be divided into: their greatest common divisor."""
        return math.gcd(*(heads for _, heads in self.pairs))

    def incompatibilities(self, name: str, stage: Stage) -> Iterator[str]:
        """Yield what keeps the width and heads of ``stage``, which is called ``name``, from being one of these."""
        if stage.dim not in self.dims:
            yield f"{name} has dim {stage.dim}, not {_any_of(self.dims)}"
        # Where the width is none of these, heads that any of them has are not held against the stage.
        fitting = sorted({heads for dim, heads in self.pairs if dim == stage.dim})
        heads = fitting or sorted({heads for _, heads in self.pairs})
        if stage.num_heads not in heads:
            yield f"{name} has num_heads {stage.num_heads}, not {_any_of(heads)}"


@dataclass(frozen=True)
class CombinedWidths(WidthChoices):
    """Widths of which each goes with all heads.

    Args:
        channels: Numbers of channels C to choose from, ascending.
        num_heads: Numbers of heads to choose from, ascending; empty where ``head_dims`` are given.
        head_dims: Channels of a head to choose from, ascending; the number of heads follows from the width.

    Raises:
        SpaceError: If a width cannot be divided into heads, or both or neither kind of heads are given.
    """

    channels: tuple[int, ...]
    num_heads: tuple[int, ...] = ()
    head_dims: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.num_heads) == bool(self.head_dims):
            raise SpaceError("a stage needs either num_heads or head_dim, not both")
        for dim in self.channels:
            for head_dim in self.head_dims:
                if dim % head_dim:
                    raise SpaceError(
                        f"dim {dim} cannot be divided into heads of head_dim {head_dim}; every dim must be a "
                        "multiple of every head_dim, or each width be declared with its own heads"
                    )

    @cached_property
    def pairs(self) -> tuple[Width, ...]:
        """Every ``(dim, num_heads)``, narrow ones first."""
        return tuple((dim, self._heads(dim, option)) for dim in self.channels for option in self._options)

    @property
    def _options(self) -> tuple[int, ...]:
        """The options of whichever knob decides on the heads."""
        return self.num_heads or self.head_dims

    @property
    def _knob(self) -> str:
        """The knob that decides on the heads."""
        return "num_heads" if self.num_heads else "head_dim"

    def decisions(self) -> Iterator[tuple[str, tuple[int | str, ...]]]:
        """Yield the knobs that have more than one option, with their options."""
        for knob, options in (("dim", self.channels), (self._knob, self._options)):
            if len(options) > 1:
                yield knob, options

    def assemble(self, name: str, values: Mapping[str, Any]) -> Width:
        """Return the ``(dim, num_heads)`` that the decisions ``values`` of the stage called ``name`` make."""
        dim = values.get(f"{name}.dim", self.channels[0])
        return dim, self._heads(dim, values.get(f"{name}.{self._knob}", self._options[0]))

    def values(self, name: str, stage: Stage) -> Iterator[tuple[str, int | str]]:
        """Yield the decisions that make the width and heads of ``stage``, which is called ``name``."""
        yield f"{name}.dim", stage.dim
        heads = stage.num_heads if self.num_heads else stage.dim // stage.num_heads
        yield f"{name}.{self._knob}", heads

    def to_json(self) -> dict[str, object]:
        """Return the keys of a declaration that make these choices."""
        return {"dim": list(self.channels), self._knob: list(self._options)}

    def _heads(self, dim: int, option: int) -> int:
        return option if self.num_heads else dim // option


@dataclass(frozen=True)
class ListedWidths(WidthChoices):
    """Widths of which each goes with heads of its own: one decision of a stage, called ``width``.

    Args:
        combinations: Every ``(dim, num_heads)``, in any order.

    Raises:
        SpaceError: If there is no combination, or one twice.
    """

    combinations: tuple[Width, ...]

    def __post_init__(self) -> None:
        if not self.combinations:
            raise SpaceError("a stage needs at least one width")
        for number, (dim, heads) in enumerate(self.combinations):
            if (dim, heads) in self.combinations[:number]:
                raise SpaceError(f"dim {dim} with {_count_heads(heads)} is offered twice")
        object.__setattr__(self, "combinations", tuple(sorted(self.combinations)))

    @property
    def pairs(self) -> tuple[Width, ...]:
        """Every ``(dim, num_heads)``, narrow ones first."""
        return self.combinations

    def decisions(self) -> Iterator[tuple[str, tuple[int | str, ...]]]:
        """Yield the knobs that have more than one option, with their options."""
        if len(self._by_option) > 1:
            yield "width", tuple(self._by_option)

    def assemble(self, name: str, values: Mapping[str, Any]) -> Width:
        """Return the ``(dim, num_heads)`` that the decisions ``values`` of the stage called ``name`` make."""
        option = values.get(f"{name}.width")
        return self.combinations[0] if option is None else self._by_option[option]

    def values(self, name: str, stage: Stage) -> Iterator[tuple[str, int | str]]:
        """Yield the decisions that make the width and heads of ``stage``, which is called ``name``."""
        yield f"{name}.width", _option(stage.dim, stage.num_heads)

    def to_json(self) -> dict[str, object]:
        """Return the keys of a declaration that make these choices."""
        return {"width": [{"dim": dim, "num_heads": heads} for dim, heads in self.combinations]}

    @cached_property
    def _by_option(self) -> dict[str, Width]:
        return {_option(dim, heads): (dim, heads) for dim, heads in self.combinations}


def _option(dim: int, num_heads: int) -> str:
    """Return how a decision calls a width with its heads: a word, as databases of trials hold no pairs."""
    return f"dim{dim}_heads{num_heads}"


def _count_heads(count: int) -> str:
    return "1 head" if count == 1 else f"{count} heads"


def _any_of(options: tuple[int, ...] | list[int]) -> str:
    *others, last = map(str, options)
    return f"{', '.join(others)} or {last}" if others else last
