"""Loading the ``model.py`` of an export folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from search_spaces.errors import WorkError


def load_source(folder: Path) -> Any:
    """Import the ``model.py`` of an export folder as a module of its own; it does not stay in ``sys.modules``.

    Raises:
        WorkError: If it cannot be imported; whatever its code raises comes through.
    """
    spec = importlib.util.spec_from_file_location(f"exported_{abs(hash(folder))}", folder / "model.py")
    if spec is None or spec.loader is None:
        raise WorkError(f"{folder / 'model.py'} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module
