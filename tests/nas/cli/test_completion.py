"""What a shell offers: spaces, studies, recipes, published networks, values of settings; and its installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OLD = Path(__file__).parents[2] / "golden" / "old_study"


def offered(line: str, place: Path) -> list[str]:
    """Return what bash is offered behind a line."""
    words = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "_NAS_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "nas"], capture_output=True, text=True, cwd=place, env={**os.environ, **words}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nas search --space l", ["local_vit_ablation"]),
        ("nas retrain ", ["first"]),
        ("nas report studies/f", ["studies/first"]),
        ("nas recipes tw", ["twins"]),
        ("nas search --recipe de", ["deit"]),
        ("nas search --policy ", ["uniform", "fair", "sandwich"]),
        ("nas import x.pth --as swin_t", ["swin_tiny"]),
    ],
)
def test_names_are_completed(line: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "studies" / "first").mkdir(parents=True)
    shutil.copy(OLD / "study.yaml", tmp_path / "studies" / "first")
    (tmp_path / "studies" / "no study").mkdir()
    assert offered(line, tmp_path) == words


def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = ["bash", "-c", f"{sys.executable} -m nas --install-completion; exit $?"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done
    assert "complete_bash" in (tmp_path / ".bash_completions" / "nas.sh").read_text()
    assert "nas.sh" in (tmp_path / ".bashrc").read_text()
    bash = subprocess.run(
        ["bash", "--norc", "-c", f"source {tmp_path}/.bash_completions/nas.sh; complete -p nas"],
        capture_output=True,
        text=True,
    )
    assert bash.stdout.strip().endswith("nas"), bash


def test_completion_needs_no_heavy_library() -> None:
    """A shell waits for it at every press of the key."""
    code = (
        "import sys; from nas.cli.completion import *; "
        "complete_space(''), complete_study(''), complete_recipe(''), complete_published(''); "
        "import nas.cli.main; print([name for name in ('torch', 'ray', 'optuna', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
