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
from tests.helpers.command_line import TINY_SPACE
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with a source distribution as ``python -m build`` does it."""
    out = tmp_path_factory.mktemp("built")
    source = out / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, place=out)
    assert built.returncode == 0, built.stderr
    assert len(list(out.glob("nas-*.tar.gz"))) == 1
    (wheel,) = out.glob("nas-*.whl")
    return wheel


def install(what: str, place: Path) -> Path:
    """Install into a new environment, from the package index or uv's cache; return its Python."""
    uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
    if not Path(uv).exists():
        pytest.skip("uv is not installed; make setup installs it")
    python = place / "empty" / "bin" / "python"
    for command in (
        [uv, "venv", "--python", sys.executable, place / "empty"],
        [uv, "pip", "install", "--python", python, what],
    ):
        done = run(*command, place=place)
        if "dns error" in done.stderr or "client error (Connect)" in done.stderr:
            pytest.skip("there is no package index")
        assert done.returncode == 0, done.stderr
    return python


@pytest.mark.slow
def test_the_core_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    python = install(str(wheel), tmp_path)
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


@pytest.mark.slow
def test_the_usual_extras_bring_what_a_search_needs(wheel: Path, tmp_path: Path) -> None:
    """What only developers have is not there: a plan that asked for it would end with a traceback."""
    python = install(f"{wheel}[all]", tmp_path)
    usual = [name for name, extra in EXTRAS.items() if extra in ("search", "export", "dashboard")]
    code = f"import importlib.util as u; print([n for n in {usual!r} if not u.find_spec(n)], u.find_spec('einops'))"
    assert run(python, "-c", code, place=tmp_path).stdout == "[] None\n"
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    planned = run(python.with_name("nas"), "search", "--space", "tiny.yaml", "--dry-run", place=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "space     tiny" in planned.stderr, planned.stderr
    known = run(python, "-c", "import nas.timm, timm; print(timm.is_model('nas_network'))", place=tmp_path)
    assert known.stdout == "True\n", known.stderr
