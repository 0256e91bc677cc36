"""How a design that was found differs from published ones, choice by choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import costs
from search_spaces.space import Space

#: What a design has where the other one has a choice: no block with that knob, or no such stage.
NOTHING = "–"


@dataclass(frozen=True)
class Difference:
    """One choice that two designs made.

    Args:
        stage: The stage, from 1; 0 for the whole design.
        choice: What was chosen: ``operator``, ``depth``, ``lsa's window_size``.
        published: What the published design has; block by block where its blocks differ.
        found: What the found design has.
    """

    stage: int
    choice: str
    published: str
    found: str

    @property
    def is_equal(self) -> bool:
        """Whether both chose the same."""
        return self.published == self.found


@dataclass(frozen=True)
class Comparison:
    """A found design beside the published one that is nearest to it.

    Args:
        name: The published one, as the space can express it: ``swin-like``.
        published: That design.
        found: The found one.
        choices: Every choice that one of them made, stage by stage.
    """

    name: str
    published: Architecture
    found: Architecture
    choices: tuple[Difference, ...]

    @property
    def differences(self) -> list[Difference]:
        """The choices in which they differ."""
        return [each for each in self.choices if not each.is_equal]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "published": self.published.digest,
            "found": self.found.digest,
            "choices": len(self.choices),
            "differences": [asdict(each) for each in self.differences],
        }


def compare_with_nearest(found: Architecture, space: Space) -> Comparison | None:
    """Return the published design that differs from a found one in the smallest part of their choices.

    Designs of a paper are taken as the space can express them; of equally near ones that of the nearest MACs.

    Args:
        found: The design.
        space: Its space.

    Returns:
        The comparison; None where the space can express no published design.
    """
    compared = [
        Comparison(name, design, found, tuple(_compare(design, found))) for name, design in analogues(space)
    ]
    macs = costs(found).macs

    def distance(each: Comparison) -> tuple[float, float, str]:
        ratio = abs(math.log(costs(each.published).macs / macs))
        return len(each.differences) / len(each.choices), ratio, each.name

    return min(compared, key=distance, default=None)


def _compare(published: Architecture, found: Architecture) -> Iterator[Difference]:
    yield Difference(0, "stem", published.stem, found.stem)
    sizes = ["×".join(map(str, design.image_size)) for design in (published, found)]
    if sizes[0] != sizes[1]:
        yield Difference(0, "image size", *sizes)
    count = max(len(published.stages), len(found.stages))
    for number in range(1, count + 1):
        one, other = (
            _choices(design.stages[number - 1]) if number <= len(design.stages) else {}
            for design in (published, found)
        )
        for choice in dict.fromkeys([*one, *other]):
            yield Difference(number, choice, one.get(choice, NOTHING), other.get(choice, NOTHING))


def _choices(stage: Stage) -> dict[str, str]:
    """Return what a stage chose, by the name of the choice."""
    chosen = {
        "downsampling": stage.downsample or "",
        "width": str(stage.dim),
        "heads": str(stage.num_heads),
        "depth": str(len(stage.blocks)),
        "operator": _join(block.operator for block in stage.blocks),
        "encoding": _join(block.pos for block in stage.blocks),
        "MLP ratio": _join(f"{block.mlp_ratio:g}" for block in stage.blocks),
    }
    for operator, knob in dict.fromkeys(_knobs(stage.blocks)):
        blocks = [block for block in stage.blocks if block.operator == operator]
        chosen[f"{operator}'s {knob}"] = _join(str(block.settings.get(knob, NOTHING)) for block in blocks)
    return {name: value for name, value in chosen.items() if value}


def _knobs(blocks: Sequence[Block]) -> Iterator[tuple[str, str]]:
    for block in blocks:
        for knob in block.settings:
            yield block.operator, knob


def _join(values: Iterable[str]) -> str:
    """Return the values of blocks, first to last; one where all are equal."""
    each = list(values)
    return each[0] if len(set(each)) == 1 else ", ".join(each)
