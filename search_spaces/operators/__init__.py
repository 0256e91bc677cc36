"""The operators a space may name; a new one is a file here, a file in ``supernet/operators``, a line below."""

from __future__ import annotations

from search_spaces.errors import SpaceError, nearest
from search_spaces.operators._base import Cost, FeatureMap, Knob, Knobs, KnobValue, OperatorSpec
from search_spaces.operators.cswin import CSWIN
from search_spaces.operators.dwconv import DWCONV
from search_spaces.operators.gsa import GSA
from search_spaces.operators.lsa import LSA
from search_spaces.operators.outlook import OUTLOOK
from search_spaces.operators.refiner import REFINER
from search_spaces.operators.swin import SWIN

__all__ = [
    "OPERATORS",
    "POSITIONS",
    "Cost",
    "Knob",
    "KnobValue",
    "Knobs",
    "OperatorSpec",
    "FeatureMap",
    "operator",
]

OPERATORS: dict[str, OperatorSpec] = {
    spec.name: spec for spec in (LSA, GSA, CSWIN, DWCONV, REFINER, SWIN, OUTLOOK)
}

POSITIONS = ("none", "ape", "rpe", "cpe", "lepe")


def operator(name: str) -> OperatorSpec:
    """Return the operator called ``name``.

    Raises:
        SpaceError: If there is none, naming the nearest valid spelling.
    """
    if name not in OPERATORS:
        raise SpaceError(f"unknown operator '{name}' ({nearest(name, OPERATORS)})")
    return OPERATORS[name]
