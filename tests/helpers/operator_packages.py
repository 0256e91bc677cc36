"""Packages with operators of their own: the example that README shows, and installing one for a test."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search_spaces.operators import _registry

EXAMPLE = Path(__file__).parents[1] / "examples" / "new_operator"


def pip_install(package: Path, target: Path) -> Path:
    """Install ``package`` into the folder ``target`` as pip does, without a network; return the folder."""
    source = shutil.copytree(package, target.with_name(f"{target.name}-source"))  # builds write beside it
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def write_distribution(folder: Path, name: str, entry_points: str, **modules: str) -> Path:
    """Write what pip leaves of an installed distribution: its modules and its ``nas.operators``."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{_registry.ENTRY_POINTS}]\n{entry_points}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


@contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Make what lies in ``folders`` importable and its operators known; afterwards, as if they never were."""
    path, modules, imported = list(sys.path), set(sys.modules), dict(_registry._imported)
    sys.path[:0] = map(str, folders)
    _forget()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and any(Path(file).is_relative_to(folder) for folder in folders):
                del sys.modules[name]
        _registry._imported.clear()
        _registry._imported.update(imported)
        _forget()


def _forget() -> None:
    importlib.invalidate_caches()
    _registry._entries.cache_clear()
    _registry._load_entry.cache_clear()
