"""`python -m nas.timm SCRIPT ...`: a script runs as it would by itself, and finds this project's networks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nas.timm.__main__ import run_script
from search_spaces.errors import RequestError

SCRIPT = """
import sys
import timm
import beside

assert __name__ == "__main__" and timm.is_model("nas_network")
print(sys.argv[1:], beside.NAME)
"""


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script is told is set back."""
    monkeypatch.setattr(sys, "argv", ["nas.timm"])
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])


def test_a_script_with_its_arguments_and_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text('NAME = "a neighbour"\n')
    run_script([str(tmp_path / "script.py"), "--model", "local-dir:models/mine"])
    assert capsys.readouterr().out == "['--model', 'local-dir:models/mine'] a neighbour\n"
    assert sys.argv[0] == str(tmp_path / "script.py")


@pytest.mark.parametrize(
    ("given", "says"), [([], "no script is named"), (["none.py", "-h"], "none.py is no file")]
)
def test_without_a_script(given: list[str], says: str) -> None:
    with pytest.raises(RequestError, match=f"{says}; type: python -m nas.timm validate.py"):
        run_script(given)
