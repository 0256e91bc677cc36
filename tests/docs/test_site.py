"""The site builds without a warning, so that every link in it, to a heading too, leads somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import PAGES, ROOT

pytest.importorskip("sphinx", reason="the docs extra is not installed")


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages as ``make docs`` does."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-c", str(source / "docs"), "-d", str(out / "trees"), str(source), str(out / "site")]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_every_page_is_built_without_a_warning(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for page in PAGES:
        assert (tmp_path / "site" / page).with_suffix(".html").is_file()
    assert 'url=docs/index.html"' in (tmp_path / "site" / "index.html").read_text()
    named = pages_of_errors()
    assert {"howto/resume.md#a-study-is-in-use", "concepts/supernet.md#supernet"} <= named
    for address in named:
        page, _, section = address.partition("#")
        text = (tmp_path / "site" / "docs" / page).with_suffix(".html").read_text()
        assert section and f'id="{section}"' in text, address


def pages_of_errors() -> set[str]:
    """Return the pages that errors name, with their sections: values of ``page`` in the source."""
    found = set()
    for path in (*(ROOT / "nas").rglob("*.py"), *(ROOT / "search_spaces").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.keyword) else None
            if isinstance(value, ast.Constant) and re.fullmatch(
                r"(howto|concepts)/\w+\.md.*", str(value.value)
            ):
                found.add(str(value.value))
    return found


def test_a_dead_link_fails(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text())
    (docs / "site").mkdir()
    (docs / "index.md").write_text("# One\n\n[a heading](#none) and [a page](howto/none.md)\n")
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert "none" in done.stderr and "howto/none.md" in done.stderr
