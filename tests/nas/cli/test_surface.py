"""What can be typed stays as it is; the version and the help say what they should."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from nas.cli.options import PANELS, search_options
from nas.study.setting import Setting
from search_spaces.declaration import load_declaration
from tests.helpers.command_line import Nas
from tests.nas.cli.surface import describe_surface


def test_nothing_that_can_be_typed_has_changed() -> None:
    frozen = Path(__file__).with_name("surface.txt").read_text()
    assert describe_surface() == frozen, (
        "options changed; if they should have, run: python -m tests.nas.cli.surface > tests/nas/cli/surface.txt"
    )


def test_version(nas: Nas) -> None:
    outcome = nas("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"nas {metadata.version('nas')}\n"


def test_version_where_nothing_is_installed(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    outcome = nas("--version")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("nas: the version is unknown")


@pytest.fixture
def help_text(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> str:
    """The help of ``nas search``, wide enough for a line each."""
    monkeypatch.setenv("COLUMNS", "240")
    return nas("search", "--help").out


def test_help_groups_its_options(help_text: str) -> None:
    titles = re.findall(r"^╭─ (\w+) ", help_text, re.MULTILINE)
    assert titles == ["Options", *PANELS]
    groups = dict(zip(titles, re.split(r"^╭─ ", help_text, flags=re.MULTILINE)[1:], strict=True))
    for each in search_options():
        assert each.panel is not None and f"{each.flag} " in groups[each.panel]
    for flag, title in (
        ("--budget", "Run"),
        ("--config", "Run"),
        ("--retrain ", "Output"),
        ("--json", "Output"),
    ):
        assert flag in groups[title]


@pytest.mark.parametrize("each", search_options(), ids=lambda each: each.flag)
def test_help_shows_what_an_option_means_and_its_default(each: Setting, help_text: str) -> None:
    line = next(line for line in help_text.splitlines() if f" {each.flag} " in line)
    assert each.description in line
    if each.default_help is not None:
        assert f"[default: ({each.default_help})]" in line
    elif each.type in (str, int):
        assert f"[default: {each.default}]" in line


def test_the_yaml_of_a_space_is_printed_for_a_copy(nas: Nas, tmp_path: Path) -> None:
    outcome = nas("spaces", "twins_cswin", "--yaml")
    assert outcome.code == 0 and not outcome.err
    (tmp_path / "mine.yaml").write_text(outcome.out)
    copy, own = (load_declaration(name) for name in (tmp_path / "mine.yaml", "twins_cswin"))
    assert copy.content == own.content and copy.text == own.text
    assert json.loads(nas("spaces", "twins_cswin", "--json").out)["declaration"] == own.content
