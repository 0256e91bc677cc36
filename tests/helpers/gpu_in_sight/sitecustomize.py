"""Python runs this at its start where the folder is on PYTHONPATH: torch then shows our code a GPU that nobody may use.

Each process that imports torch leaves a file in the folder that NAS_TEST_MARKS names, with its command line; one that
tries to use the GPU leaves another and fails. NAS_TEST_GPU is ``everywhere``, or ``driver`` for ``python -m nas`` only.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

OURS = ("nas", "supernet", "search_spaces")


def mark(kind: str) -> None:
    """Leave a file of this process."""
    Path(os.environ["NAS_TEST_MARKS"], f"{kind}-{os.getpid()}").write_text(" ".join(sys.orig_argv))


def show_gpu(cuda: Any) -> None:
    """Let ``torch.cuda`` have a GPU whose use fails."""

    def fail() -> None:
        mark("used")
        raise AssertionError("a GPU was used")

    def is_available() -> bool:
        # Optimisers of torch ask as well, and would look at the GPU's streams.
        return str(sys._getframe(1).f_globals["__name__"]).partition(".")[0] in OURS

    cuda.is_available, cuda._lazy_init, cuda.device_count = is_available, fail, lambda: 1
    mark("saw")


class Finder(MetaPathFinder):
    """Changes ``torch.cuda`` once it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "torch.cuda":
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            show_gpu(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("NAS_TEST_GPU") == "everywhere" or sys.orig_argv[1:3] == ["-m", "nas"]:
    sys.meta_path.insert(0, Finder())
