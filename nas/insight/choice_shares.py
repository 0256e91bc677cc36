"""The choices of designs as numbers: of which part of its blocks a stage has which value.

A choice is one of a stage (its depth, width, heads, downsampling) or of its blocks (operator, encoding, MLP ratio, and
the knobs of each operator). Values have shares: 1 for a depth that a stage has, 0.5 for an operator that one of its two
blocks has. A knob counts in the blocks of its own operator alone, so that what is not active is nowhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from search_spaces.architecture import Architecture, Block, Stage

OPERATOR = "operator"
#: What a value is compared with where designs have it: the plainest of its kind.
PLAIN = ("dwconv", "none")

#: By choice the share of each value, which is text.
Shares = Mapping["Choice", Mapping[str, float]]


@dataclass(frozen=True, order=True)
class Choice:
    """One decision of a design.

    Args:
        stage: Its stage, from 1; 0 for all stages together.
        name: What is decided, as in a space's declaration: ``operator``, ``pos``, ``mlp_ratio``, ``depth``, a knob.
        operator: The operator whose knob it is; empty for other choices.
    """

    stage: int
    name: str
    operator: str = ""

    @property
    def place(self) -> str:
        """Where it is made, in words."""
        return f"stage {self.stage}" if self.stage else "all stages"

    @property
    def subject(self) -> str:
        """What is decided, in words: ``operator``, ``lsa's window_size``."""
        return f"{self.operator}'s {self.name}" if self.operator else self.name


def choice_shares(architecture: Architecture, by_stage: bool = True) -> Shares:
    """Return the shares of every choice of a design.

    Args:
        architecture: The design.
        by_stage: Whether each stage counts by itself; else all blocks count together, and what is decided for a whole
            stage is left out.
    """
    found: dict[Choice, Counter[str]] = defaultdict(Counter)
    total = sum(len(stage.blocks) for stage in architecture.stages)
    for number, stage in enumerate(architecture.stages, start=1):
        if by_stage:
            for name, value in _stage_values(stage):
                found[Choice(number, name)][value] = 1
        for block in stage.blocks:
            for name, operator, value in _block_values(block):
                choice = Choice(number if by_stage else 0, name, operator)
                found[choice][value] += 1 / (len(stage.blocks) if by_stage else total)  # type: ignore[assignment]
    return found


def _stage_values(stage: Stage) -> Iterator[tuple[str, str]]:
    yield "depth", str(len(stage.blocks))
    yield "dim", str(stage.dim)
    yield "num_heads", str(stage.num_heads)
    if stage.downsample is not None:
        yield "downsample", stage.downsample


def _block_values(block: Block) -> Iterator[tuple[str, str, str]]:
    yield OPERATOR, "", block.operator
    yield "pos", "", block.pos
    yield "mlp_ratio", "", f"{block.mlp_ratio:g}"
    for knob, value in block.settings.items():
        yield knob, block.operator, str(value)


def in_order(values: set[str]) -> list[str]:
    """Return values with the plain one first, then numbers by size and words by letters."""

    def key(value: str) -> tuple[bool, bool, float, str]:
        try:
            return value not in PLAIN, False, float(value), ""
        except ValueError:
            return value not in PLAIN, True, 0.0, value

    return sorted(values, key=key)
