"""What the source imports, or asks the version of, is declared for those who install it, not for developers alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from nas.training.part_counts import _LIBRARIES
from tests.test_wheel import PACKAGES, ROOT

#: pandas: where a method of a result asks for it, which does without as well; fsspec: a requirement of torch.
NOT_DECLARED = {"pandas", "fsspec"}


def declared() -> set[str]:
    """Return the distributions of the core and of the extras that users have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in extras if name not in ("dev", "docs") for line in extras[name]),
    ]
    return {normal(re.split(r"[\[<>=~! ]", line)[0]) for line in lines}


def normal(distribution: str) -> str:
    """Return the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported() -> dict[str, Path]:
    """Return the top-level modules that the source imports anywhere, each with a file that does."""
    found: dict[str, Path] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found.update({name.partition(".")[0]: path for name in names})
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *PACKAGES}}


def test_every_import_is_declared() -> None:
    brought_by, known = packages_distributions(), declared()
    modules = imported()
    assert {"torch", "timm", "ray", "PIL", "yaml"} <= modules.keys()
    absent = {
        name: str(path)
        for name, path in modules.items()
        if name not in NOT_DECLARED and not set(map(normal, brought_by.get(name, []))) & known
    }
    assert absent == {}


def test_versions_that_are_needed_are_those_of_declared_packages() -> None:
    """Of a package that is not there no version can be told, and a search would end with a traceback."""
    assert set(_LIBRARIES) <= declared()
