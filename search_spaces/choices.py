"""What a stage may be: its choices, the named decisions that make them, and the stages that these make.

Every draw goes through one fixed list of named decisions (``stage2.block3.operator``), inactive ones
included: NSGA-II evolves only parameters that all trials share, and TPE models them jointly. A stage
holds active choices alone, so draws that differ only in inactive ones are equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.architecture import Block, Stage
from search_spaces.operators import KnobValue, operator, state_with_operator, state_without_operator
from search_spaces.widths import WidthChoices

Value = str | int | float


@dataclass(frozen=True)
class Choice:
    """One named decision with its options."""

    name: str
    options: tuple[Value, ...]


@dataclass(frozen=True)
class OperatorChoices:
    """An operator that a block may choose, with the options of its knobs and its encodings.

    Args:
        name: The operator.
        knobs: ``(knob, options)`` pairs.
        pos: Positional encodings to choose from.
    """

    name: str
    knobs: tuple[tuple[str, tuple[KnobValue, ...]], ...]
    pos: tuple[str, ...]

    def settings(self) -> Iterator[tuple[dict[str, KnobValue], str]]:
        """Yield every distinct ``(active knobs, pos)``."""
        spec, seen = operator(self.name), set()
        for values in itertools.product(*(options for _, options in self.knobs)):
            knobs = dict(zip((name for name, _ in self.knobs), values, strict=True))
            for option in self.pos:
                active, pos = spec.canonical(knobs, option)
                key = (*active.items(), pos)
                if key not in seen:
                    seen.add(key)
                    yield active, pos

    def pos_option(self, block: Block) -> str | None:
        """Return the option that gives ``block`` its encoding, or None.

        It need not be the block's own: an encoding that has no effect there becomes ``none``.
        """
        options = (o for o in self.pos if block.spec.canonical(block.settings, o)[1] == block.pos)
        return next(options, None)

    def __getstate__(self) -> dict[str, Any]:
        return state_with_operator(vars(self), self.name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state_without_operator(state))


@dataclass(frozen=True)
class StageChoices:
    """What a stage may be; every block of it has the same choices.

    The first block alone has fewer where blocks may apply the attention maps of the one before.

    Args:
        widths: Channels and attention heads to choose from.
        depths: Numbers of blocks to choose from.
        operators: Operators to choose from.
        mlp_ratios: Ratios to choose from.
        downsamples: Downsamplings to choose from; empty in the first stage.
    """

    widths: WidthChoices
    depths: tuple[int, ...]
    operators: tuple[OperatorChoices, ...]
    mlp_ratios: tuple[float, ...]
    downsamples: tuple[str, ...] = ()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every block that this stage may have, those that may come first ahead of the others."""
        blocks = (
            Block(choice.name, tuple(knobs.items()), pos, ratio)
            for choice in self.operators
            for knobs, pos in choice.settings()
            for ratio in self.mlp_ratios
        )
        return tuple(sorted(blocks, key=lambda block: block.needs_previous_attention))

    @cached_property
    def first_blocks(self) -> tuple[Block, ...]:
        """Every block that may come first: it needs no attention maps of a block before."""
        return tuple(block for block in self.blocks if not block.needs_previous_attention)

    @cached_property
    def block_set(self) -> frozenset[Block]:
        """The same as ``blocks``, to look one up."""
        return frozenset(self.blocks)

    @property
    def size(self) -> int:
        """Exact number of distinct stages, the downsampling before them counted."""
        sequences = sum(self.num_sequences(depth) for depth in self.depths)
        return max(1, len(self.downsamples)) * len(self.widths.pairs) * sequences

    def num_sequences(self, depth: int) -> int:
        """Return how many different sequences of ``depth`` blocks there are."""
        rest: int = len(self.blocks) ** (depth - 1)
        return len(self.first_blocks) * rest

    # -- named decisions -------------------------------------------------------------------------

    @cached_property
    def shared(self) -> dict[str, tuple[Value, ...]]:
        """Knobs (and ``pos``) whose options are the same for every operator that has them.

        These are one decision of a block under their own name; others are qualified by their operator.
        """
        options: dict[str, set[tuple[Value, ...]]] = {}
        for choice in self.operators:
            for name, values in (*choice.knobs, ("pos", choice.pos)):
                options.setdefault(name, set()).add(tuple(values))
        return {name: next(iter(values)) for name, values in options.items() if len(values) == 1}

    def parameter(self, choice: OperatorChoices, knob: str) -> str:
        """Return under which name a block decides on ``knob`` of the operator ``choice``."""
        return knob if knob in self.shared else f"{choice.name}.{knob}"

    def decisions(self, name: str) -> Iterator[Choice]:
        """Yield every decision of this stage, those of one option included; ``name`` is the stage's."""
        if self.downsamples:
            yield Choice(f"{name}.downsample", self.downsamples)
        for knob, options in self.widths.decisions():
            yield Choice(f"{name}.{knob}", options)
        yield Choice(f"{name}.depth", self.depths)
        for number in range(1, max(self.depths) + 1):
            block = f"{name}.block{number}"
            yield Choice(f"{block}.operator", tuple(choice.name for choice in self.operators))
            yield from self._knob_decisions(block, first=number == 1)
            yield Choice(f"{block}.mlp_ratio", self.mlp_ratios)

    def _knob_decisions(self, block: str, first: bool) -> Iterator[Choice]:
        options: dict[str, tuple[Value, ...]] = {}
        for choice in self.operators:
            knobs = operator(choice.name).knobs
            for knob, values in (*choice.knobs, ("pos", choice.pos)):
                excluded = knobs[knob].needs_predecessor if first and knob != "pos" else ()
                options[self.parameter(choice, knob)] = tuple(v for v in values if v not in excluded)
        return (Choice(f"{block}.{parameter}", values) for parameter, values in options.items())

    def assemble(self, name: str, values: Mapping[str, Any]) -> Stage:
        """Return the stage that the decisions ``values`` make; ``name`` is the stage's."""
        blocks = []
        for number in range(1, values[f"{name}.depth"] + 1):
            prefix = f"{name}.block{number}"
            choice, knobs = self._by_operator[values[f"{prefix}.operator"]]
            options = tuple(values[f"{prefix}.{knob}"] for knob in (*knobs, "mlp_ratio"))
            block = self._known_blocks.get((choice.name, options))
            if block is None:
                block = self._known_blocks[choice.name, options] = _to_block(choice, options)
            blocks.append(block)
        return Stage(*self.widths.assemble(name, values), tuple(blocks), values.get(f"{name}.downsample"))

    def values(self, name: str, stage: Stage) -> Iterator[tuple[str, Value]]:
        """Yield the decisions that make ``stage``, one of these choices; ``name`` is the stage's."""
        if stage.downsample is not None:
            yield f"{name}.downsample", stage.downsample
        yield from self.widths.values(name, stage)
        yield f"{name}.depth", len(stage.blocks)
        for number, block in enumerate(stage.blocks, start=1):
            prefix = f"{name}.block{number}"
            yield f"{prefix}.operator", block.operator
            yield f"{prefix}.mlp_ratio", block.mlp_ratio
            for knob, value in self._block_values(block):
                yield f"{prefix}.{knob}", value

    def _block_values(self, block: Block) -> tuple[tuple[str, Value], ...]:
        """Return the decisions on the knobs and the encoding of a block, by the names that a block gives them."""
        known = self._known_values.get(block)
        if known is None:
            choice, _ = self._by_operator[block.operator]
            pos = choice.pos_option(block) or block.pos
            found = (*block.settings.items(), ("pos", pos))
            known = tuple((self.parameter(choice, knob), value) for knob, value in found)
            self._known_values[block] = known
        return known

    @cached_property
    def _by_operator(self) -> dict[Value, tuple[OperatorChoices, tuple[str, ...]]]:
        """The choices of each operator, with the names of its decisions: its knobs, then its encoding."""
        return {
            choice.name: (
                choice,
                tuple(self.parameter(choice, knob) for knob in (*(knob for knob, _ in choice.knobs), "pos")),
            )
            for choice in self.operators
        }

    # A search assembles thousands of designs of the same few hundred blocks, which check themselves as they are made.

    @cached_property
    def _known_blocks(self) -> dict[tuple[str, tuple[Value, ...]], Block]:
        """Blocks by their operator and the options that make them."""
        return {}

    @cached_property
    def _known_values(self) -> dict[Block, tuple[tuple[str, Value], ...]]:
        """What `_block_values` has returned."""
        return {}

    # -- membership ------------------------------------------------------------------------------

    def incompatibilities(self, name: str, stage: Stage) -> Iterator[str]:
        """Yield what keeps ``stage``, which is called ``name``, from being one of these choices."""
        yield from self.widths.incompatibilities(name, stage)
        if stage.downsample not in (self.downsamples or (None,)):
            yield no_option(f"{name}.downsample", stage.downsample, self.downsamples)
        if len(stage.blocks) not in self.depths:
            yield no_option(f"{name}.depth", len(stage.blocks), self.depths)
        for number, block in enumerate(stage.blocks, start=1):
            if block not in self.block_set:
                yield from self._block_incompatibilities(f"{name}.block{number}", block)

    def _block_incompatibilities(self, name: str, block: Block) -> Iterator[str]:
        choices = {choice.name: choice for choice in self.operators}
        if block.operator not in choices:
            yield no_option(f"{name}.operator", block.operator, tuple(choices))
            return
        choice = choices[block.operator]
        knobs = dict(choice.knobs)
        for knob, value in block.settings.items():
            options = knobs.get(knob, (block.spec.knobs[knob].default,))
            if value not in options:
                yield no_option(f"{name}.{knob}", value, options)
        if choice.pos_option(block) is None:
            yield no_option(f"{name}.pos", block.pos, choice.pos)
        if block.mlp_ratio not in self.mlp_ratios:
            yield no_option(f"{name}.mlp_ratio", f"{block.mlp_ratio:g}", self.mlp_ratios)


def _to_block(choice: OperatorChoices, options: Sequence[Any]) -> Block:
    """Return the block that options make: of each knob of an operator, of its encoding, and the MLP's ratio."""
    *knobs, pos_option, mlp_ratio = options
    names = (knob for knob, _ in choice.knobs)
    active, pos = operator(choice.name).canonical(dict(zip(names, knobs, strict=True)), pos_option)
    return Block(choice.name, tuple(active.items()), pos, mlp_ratio)


def no_option(choice: str, value: object, options: Iterable[object]) -> str:
    """Return that a value is no option of a choice, in words."""
    return f"{choice} is {value}, not one of {', '.join(map(str, options))}"
