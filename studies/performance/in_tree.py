"""Runs ``nas``, or a script, by the code of the folder it is started in: ``python in_tree.py nas bench operators``.

An installation in development finds what a package of that folder lacks in its own folder, so that two versions would
be mixed; its finder is taken away first.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys


def main() -> None:
    """Run what the arguments say."""
    finders = [finder for finder in sys.meta_path if not _is_of_development(finder)]
    sys.meta_path[:] = finders
    sys.path[0] = os.getcwd()
    sys.argv = sys.argv[1:]
    if sys.argv[0] != "nas":
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    try:
        program = importlib.import_module("nas.__main__")
    except ModuleNotFoundError:  # as at commit 7c9782e
        program = importlib.import_module("nas.cli")
    program.main()


def _is_of_development(finder: object) -> bool:
    return str(getattr(finder, "__module__", "")).startswith("__editable__")


if __name__ == "__main__":
    main()
