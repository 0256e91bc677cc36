"""The constraints of a trial among its system attributes, under the names that Optuna 5 gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Where optuna-dashboard 0.21 looks for the values of all constraints.
CONSTRAINTS_ATTR = "constraints"
_PREFIX = f"{CONSTRAINTS_ATTR}:"


def to_constraint_attrs(violations: Mapping[str, float]) -> dict[str, float]:
    """Return violations by the names under which Optuna keeps the constraints of a trial."""
    return {f"{_PREFIX}{name}": value for name, value in violations.items()}


def constraint_attrs_of(attrs: Mapping[str, Any]) -> dict[str, float]:
    """Return of a trial's attributes those that are constraints, under the same names."""
    return {name: value for name, value in attrs.items() if name.startswith(_PREFIX)}


def violations_of(attrs: Mapping[str, Any]) -> dict[str, float]:
    """Return the violations in a trial's attributes by the names of the limits."""
    return {name.removeprefix(_PREFIX): value for name, value in constraint_attrs_of(attrs).items()}
