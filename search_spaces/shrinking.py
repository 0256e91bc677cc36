"""A design shrunk until it fits: choice by choice towards one that does, and back wherever that still fits."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from search_spaces.architecture import Architecture
from search_spaces.space import Space

#: What is given up first where the order is not drawn: a design keeps its operators longest, then its skeleton.
_ORDER = {"depth": 0, "operator": 2, "downsample": 3, "stem": 3}
_KNOB = 1


def shrink(
    space: Space,
    design: Architecture,
    target: Architecture,
    fits: Callable[[Architecture], bool],
    rng: Random | None = None,
) -> Architecture:
    """Return a design that fits and has as many choices of ``design`` as this walk can keep.

    Args:
        space: The space of both designs.
        design: What is to fit; returned as it is where it does.
        target: A design that fits, from which choices are taken.
        fits: Says whether a design does.
        rng: Draws the order in which choices are given up, and inactive ones; else depth goes first, operators last.
    """
    wanted, fitting = space.values(design, rng), space.values(target, rng)
    order = [name for name in wanted if wanted[name] != fitting[name]]
    if rng is None:
        order.sort(key=lambda name: _ORDER.get(name.rpartition(".")[2], _KNOB))
    else:
        rng.shuffle(order)
    values, given_up = dict(wanted), list[str]()
    for name in order:
        if fits(space.assemble(values)):
            break
        values[name] = fitting[name]
        given_up.append(name)
    for name in given_up:
        restored = {**values, name: wanted[name]}
        if fits(space.assemble(restored)):
            values = restored
    return space.assemble(values)
