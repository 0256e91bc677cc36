"""The designs of a space that have names: its ends, those of one operator throughout, and the analogues.

A search begins with them, and a table of trained designs holds them: what anybody would try first is what a design that
is found has to beat at its cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.space import Space

#: Origins of the ends of a space.
SMALLEST, LARGEST = "smallest", "largest"
_MIDDLE, _ONLY = "middle", " only, "
#: What the origin of a design ends with that limits made smaller.
SHRUNK = ", shrunk"
#: Ends of origins in the order in which a search proposes them: a short one evaluates only the first.
_TURNS = (SMALLEST, "-like", _MIDDLE, LARGEST)


def named_designs(space: Space) -> Iterator[tuple[str, Architecture]]:
    """Yield ``(origin, design)``: the smallest, the largest, designs of one operator, analogues of published ones.

    Of every operator that all stages offer there are the smallest and the largest design that has no other, and the
    one at the geometric mean of their MACs.
    """
    yield SMALLEST, space.smallest
    yield LARGEST, space.largest
    for operator, part in space_by_operator(space):
        middle = math.sqrt(costs(part.smallest).macs * costs(part.largest).macs)
        designs = ((SMALLEST, part.smallest), (_MIDDLE, part.closest(middle)), (LARGEST, part.largest))
        for size, design in designs:
            yield f"{operator}{_ONLY}{size}", design
    for name, design in analogues(space):
        yield name, design


def space_by_operator(space: Space) -> Iterator[tuple[str, Space]]:
    """Yield every operator that all stages offer, and the part of a space that has no other."""
    for part in space.with_one_operator():
        (operator,) = {block.operator for stage in part.stages for block in stage.blocks}
        yield operator, part


def smallest_by_operator(space: Space) -> Iterator[tuple[str, Architecture]]:
    """Yield the smallest design of every operator that all stages offer."""
    for operator, part in space_by_operator(space):
        yield f"{operator}{_ONLY}{SMALLEST}", part.smallest


def initial_designs(space: Space) -> list[tuple[str, Architecture]]:
    """Return the named designs, each once, in the order in which a search proposes them.

    That is: the smallest, the smallest of each operator, the analogues, the middle ones, the largest.
    """
    unique: dict[str, tuple[str, Architecture]] = {}
    for origin, design in sorted(named_designs(space), key=lambda each: _turn(each[0])):
        unique.setdefault(design.digest, (origin, design))
    return list(unique.values())


def _turn(origin: str) -> int:
    return next(turn for turn, end in enumerate(_TURNS) if origin.endswith(end))


def is_plain(origin: str) -> bool:
    """Return whether an origin is that of an end of the space or of one operator, shrunk or not: of no paper."""
    name = origin.removesuffix(SHRUNK)
    return name in (SMALLEST, LARGEST) or _ONLY in name
