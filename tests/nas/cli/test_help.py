"""The help of every command: groups, defaults, examples that can be typed, and pages that errors name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.models import ArgumentInfo, CommandInfo

import search_spaces.errors
from nas.cli.examples import EXAMPLES
from nas.cli.main import app
from nas.runtime.interrupt import Interrupted
from search_spaces.errors import NasError, SpaceError
from tests.docs.cli_reference import parameters_of
from tests.docs.documents import parse_command
from tests.helpers.command_line import Nas

ROOT = Path(__file__).parents[3]
COMMANDS = {str(command.name): command for command in app.registered_commands}


def options_of(command: CommandInfo) -> dict[str, tuple[Any, Any, Any]]:
    assert command.callback is not None
    found = parameters_of(command.callback)
    return {name: each for name, each in found.items() if not isinstance(each[1], ArgumentInfo)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_group_and_every_command_too(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command.rich_help_panel, str)
    loose = [option for option, (_, info, _) in options_of(command).items() if not info.rich_help_panel]
    assert loose == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_what_holds_where_an_option_is_left_out(name: str) -> None:
    silent = [
        option
        for option, (_, info, default) in options_of(COMMANDS[name]).items()
        if default is None and not isinstance(info.show_default, str)
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_ends_with_examples_that_can_be_typed(
    name: str, nas: Nas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = nas(name, "--help").out
    assert len(EXAMPLES[name]) >= 2
    for typed, does in EXAMPLES[name]:
        words = typed.split()
        assert words[:2] == ["nas", name]
        parse_command(words)
        assert f" {typed} " in shown and does in shown


def test_no_examples_are_of_commands_that_are_gone() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


def all_errors() -> set[type[NasError]]:
    """Return every kind of error of the packages."""
    for package in ("search_spaces", "supernet", "nas"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith("errors"):
                importlib.import_module(module.name)
    found, queue = set(), [NasError]
    while queue:
        kind = queue.pop()
        found.add(kind)
        queue += kind.__subclasses__()
    return found


def test_pages_that_errors_name_exist() -> None:
    named = {kind.page for kind in all_errors() if kind.page}
    assert len(named) >= 6
    assert {page for page in named if not (ROOT / "docs" / page.partition("#")[0]).is_file()} == set()
    assert Interrupted.page == ""
    kinds = [each for _, each in inspect.getmembers(search_spaces.errors, inspect.isclass)]
    assert SpaceError in kinds


def test_a_sentence_ends_with_its_page(nas: Nas) -> None:
    outcome = nas("spaces", "none")
    assert outcome.code == 2 and outcome.err.endswith(" (docs/howto/space.md#what-has-to-fit)\n")
    assert outcome.err.count("\n") == 1


def test_the_group_lists_commands_in_groups(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = nas("--help").out.splitlines()
    titles = [line.split()[1:-1] for line in lines if line.startswith("╭─")]
    assert [" ".join(word for word in title if "─" not in word) for title in titles] == [
        "Options",
        "Search",
        "Models",
        "Look at studies",
        "Look around",
    ]
    assert isinstance(typer.main.get_command(app).epilog, str)
