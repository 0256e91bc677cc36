"""The torch halves of the operators; each is found in the module that its spec names.

A file here defines ``MIXER``, the static module's blueprint, the elastic layer and the plain formulation of one
operator. Its other half, knobs and cost without torch, is the file of the same name in
``search_spaces.operators``.
"""

from __future__ import annotations

from importlib import import_module

from search_spaces.errors import SpaceError
from search_spaces.operators import operator
from supernet.elastic import Mixer

__all__ = ["mixer"]


def mixer(name: str) -> Mixer:
    """Return the torch half of the operator called ``name``.

    Raises:
        SpaceError: If there is no such operator, or the module that its spec names cannot be imported or defines
            no ``MIXER``.
    """
    implementation = operator(name).implementation
    try:
        module = import_module(implementation)
    except ImportError as error:
        raise SpaceError(
            f"the torch half of operator '{name}' cannot be imported from '{implementation}' ({error}); correct "
            "'implementation' in its OperatorSpec or install what the module needs"
        ) from error
    found = getattr(module, "MIXER", None)
    if not isinstance(found, Mixer):
        raise SpaceError(
            f"the module '{implementation}' of operator '{name}' defines no MIXER; assign a "
            "supernet.elastic.Mixer to that name there"
        )
    return found
