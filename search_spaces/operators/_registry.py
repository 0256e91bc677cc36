"""Which operators there are, and where each comes from.

An operator is one of the project's own, found by its file in this folder; or that of an installed package,
found by its entry point; or one that somebody named as ``module:NAME``. The last kind runs the code of that
module, so only the dotted name of an installed module is accepted, never a path or an expression: whoever
opens a space, study or architecture of others trusts the packages that are installed here, not the file.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from search_spaces.errors import SpaceError, nearest
from search_spaces.operators._base import OperatorSpec

ENTRY_POINTS = "nas.operators"
_STATE_KEY = "operator_reference"
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _load(reference: str, source: str) -> OperatorSpec:
    """Return the operator at ``module:NAME``; ``source`` is how an error calls it."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpaceError(f"{source} cannot be imported ({reason}); install or repair its package") from error
    spec = getattr(module, attribute, None)
    if not isinstance(spec, OperatorSpec):
        raise SpaceError(f"{source} is not an OperatorSpec but {type(spec).__name__}; name one")
    return spec


def _find_own() -> dict[str, OperatorSpec]:
    """Return the operators that have a file in this folder, by name, in alphabetical order."""
    package = __name__.rpartition(".")[0]
    files = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    own = {}
    for name in files:
        if not name.startswith("_"):
            own[name] = _load(f"{package}.{name}:OPERATOR", f"OPERATOR of {package}.{name}")
            _require_name(own[name], name, f"the file of the operator '{name}'")
    return own


def _require_name(spec: OperatorSpec, name: str, source: str) -> None:
    if spec.name != name:
        raise SpaceError(f"{source} holds an operator called '{spec.name}'; give both the same name")


#: The project's own operators by name.
OPERATORS: dict[str, OperatorSpec] = _find_own()

# Operators that were asked for as ``module:NAME``, with that reference, by name.
_imported: dict[str, tuple[OperatorSpec, str]] = {}


def operator(name: str) -> OperatorSpec:
    """Return the operator called ``name``.

    Raises:
        SpaceError: If there is none, naming the nearest valid spelling, or its package cannot be imported.
    """
    if name in OPERATORS:
        return OPERATORS[name]
    if name in _imported:
        return _imported[name][0]
    if name in _entries():
        return _load_entry(name)
    raise SpaceError(f"unknown operator '{name}' ({nearest(name, operator_names())})")


def is_operator(name: str) -> bool:
    """Return whether there is an operator called ``name``."""
    return name in OPERATORS or name in _imported or name in _entries()


def operator_names() -> tuple[str, ...]:
    """Return the names of all operators: the project's own, then those of other packages."""
    return (*OPERATORS, *sorted({*_imported, *_entries()}))


def import_operator(reference: str) -> OperatorSpec:
    """Import the operator at ``module:NAME``; from then on it is known by its own name.

    Raises:
        SpaceError: If the reference is not of this form, cannot be imported, or leads to an operator whose name
            is taken.
    """
    if not _REFERENCE.fullmatch(reference):
        raise SpaceError(
            f"'{reference}' is not of the form module:NAME, the dotted name of an installed module"
        )
    spec = _load(reference, f"operator '{reference}'")
    if not is_operator(spec.name):
        _imported[spec.name] = (spec, reference)
    if operator(spec.name) is not spec:
        raise SpaceError(
            f"operator '{reference}' is called '{spec.name}', a name that {_owner(spec.name)} has taken; rename one"
        )
    return spec


def state_with_operator(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what to pickle of a value that names the operator ``name``, so that any process can read it."""
    reference = operator_reference(name)
    return dict(state) if reference is None else {**state, _STATE_KEY: reference}


def state_without_operator(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``state_with_operator`` was given, after importing the operator."""
    if reference := state.get(_STATE_KEY):
        import_operator(reference)
    return {name: value for name, value in state.items() if name != _STATE_KEY}


def operator_reference(name: str) -> str | None:
    """Return the ``module:NAME`` that another process needs to know the operator; None if it finds it itself."""
    return _imported[name][1] if name in _imported else None


def _owner(name: str) -> str:
    if name in OPERATORS:
        return "an operator of this project"
    if name in _imported:
        return f"'{_imported[name][1]}'"
    return _distribution(_entries()[name])


@cache
def _entries() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by name; none is loaded yet."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in OPERATORS or entry.name in entries:
            owner = (
                _distribution(entries[entry.name]) if entry.name in entries else "an operator of this project"
            )
            raise SpaceError(
                f"{_distribution(entry)} offers an operator called '{entry.name}', a name that {owner} has taken; "
                "uninstall it or rename its operator"
            )
        entries[entry.name] = entry
    return entries


@cache
def _load_entry(name: str) -> OperatorSpec:
    entry = _entries()[name]
    source = f"operator '{name}' of {_distribution(entry)} ({entry.value})"
    spec = _load(f"{entry.module}:{entry.attr}", source)
    _require_name(spec, name, f"the entry point '{name}' of {_distribution(entry)}")
    return spec


def _distribution(entry: EntryPoint) -> str:
    return f"the distribution '{entry.dist.name}'" if entry.dist else "an unnamed distribution"
