"""The project as others get it: built as they build it, installed into an empty environment, without any extra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas.runtime.extras import EXTRAS
from tests.test_wheel import PACKAGES, ROOT

EXPORT = next((ROOT / "tests" / "golden" / "old_study" / "exports").iterdir())


def run(*command: str | Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that finds nothing of this checkout or its environment."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, cwd=place, env=environment
    )


@pytest.mark.slow
def test_a_built_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """Takes torch from the package index, or from uv's cache."""
    uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
    if not Path(uv).exists():
        pytest.skip("uv is not installed; make setup installs it")
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source, place=tmp_path)
    assert built.returncode == 0, built.stderr
    assert len(list(tmp_path.glob("nas-*.tar.gz"))) == 1
    (wheel,) = tmp_path.glob("nas-*.whl")
    python = tmp_path / "empty" / "bin" / "python"
    for command in (
        [uv, "venv", "--python", sys.executable, tmp_path / "empty"],
        [uv, "pip", "install", "--python", python, wheel],
    ):
        done = run(*command, place=tmp_path)
        if "dns error" in done.stderr or "client error (Connect)" in done.stderr:
            pytest.skip("there is no package index")
        assert done.returncode == 0, done.stderr
    absent = run(
        python,
        "-c",
        f"import importlib.util as u; print([n for n in {list(EXTRAS)!r} if u.find_spec(n)])",
        place=tmp_path,
    )
    assert absent.stdout == "[]\n"
    nas = python.with_name("nas")
    shown = run(nas, "spaces", "twins_cswin", "--json", place=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["name"] == "twins_cswin"
    assert run(nas, "recipes", "twins", place=tmp_path).returncode == 0
    assert run(nas, "show", EXPORT, place=tmp_path).returncode == 0
    asked = run(nas, "search", "--dry-run", place=tmp_path)
    assert asked.returncode == 2 and "pip install 'nas[search]'" in asked.stderr
    code = "from nas import Architecture, Space, Supernet, load_space; print(load_space('twins_cswin').size)"
    assert run(python, "-c", code, place=tmp_path).stdout.strip().isdigit()
