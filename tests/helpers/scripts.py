"""Python files that no package holds: scripts of studies, and models that were exported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_script(file: Path) -> ModuleType:
    """Return a file as a module, which is known by its stem only while it is loaded."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, file.stem, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module
