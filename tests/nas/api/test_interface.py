"""The names of ``nas``: found when they are asked for, typed, and two of them packages that can be called."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import nas
from nas.api.keywords import SearchSettings, declared_keywords, read_settings
from nas.api.search import search
from nas.api.session import format_call, spell_for_python
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError

ROOT = Path(__file__).parents[3]


def test_every_name_is_there() -> None:
    assert nas.Architecture is Architecture
    assert all(getattr(nas, name) is not None for name in nas.__all__)
    assert nas.__all__ == sorted(nas.__all__) and set(nas.__all__) <= set(dir(nas))
    with pytest.raises(AttributeError, match="module 'nas' has no attribute 'serach'"):
        nas.serach  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, nas; from nas import search; print(callable(search)); "
        "print(*(name for name in ('torch', 'ray', 'optuna', 'rich', 'numpy') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


@pytest.mark.parametrize(
    "first",
    [
        "from nas.export import formats",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("import nas.search.pareto", "import nas")),
    ],
)
def test_a_function_with_the_name_of_a_package_can_be_called_whatever_was_imported_first(first: str) -> None:
    program = f"""
{first}
import inspect, nas, nas.search.pareto as pareto
from nas import export, search
assert search is nas.search and search.pareto is pareto and export is nas.export
try:
    search(max_mac=1)
except nas.NasError as error:
    print(error)
print("budget" in inspect.signature(search).parameters, "formats" in inspect.signature(export).parameters)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "did you mean 'max_macs'?" in done.stdout
    assert done.stdout.split()[-2:] == ["True", "True"]


@pytest.mark.slow
def test_a_type_checker_sees_functions_and_their_keywords(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from nas import Architecture, export, load_space, search\n"
        'found = search("twins_cswin", budget="2cpu", max_macs=4e6)\n'
        "design: Architecture = found.best.architecture\n"
        'reveal_type(export(found).folder)\nsearch(epochs="many")\nload_space(3)\n'
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--follow-imports=silent",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    done = subprocess.run([*command, str(tmp_path / "script.py")], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stdout
    assert 'Revealed type is "pathlib' in lines[0] and '"epochs"' in lines[1] and '"load_space"' in lines[2]


def test_keywords_are_the_options_of_a_search() -> None:
    own = inspect.signature(search).parameters
    written, declared = typing.get_type_hints(SearchSettings), declared_keywords()
    assert {*written, "space", "data"} == set(declared)
    assert {"space", "data", "budget", "study", "retrain", "export", "gate"} <= set(own)
    # What is only converted, of paths, lists and numbers with suffixes, is wider than the setting itself.
    plain = {
        name: (written[name], each.type)
        for name, each in declared.items()
        if name in written and each.type in (int, float, bool, int | None, float | None)
    }
    assert len(plain) > 10 and {name: pair for name, pair in plain.items() if pair[0] != pair[1]} == {}


def test_values_become_those_of_settings() -> None:
    given = read_settings(
        {
            "objective": ["top1", "macs"],
            "max_macs": 600e6,
            "max_params": "25M",
            "init_from": {"swin_tiny": Path("a.pth")},
            "data_dir": Path("/data"),
            "recipe": "small",
            "seed": None,
        }
    )
    assert given == {
        "objectives": "top1,macs",
        "max_macs": "600000000",
        "max_params": "25M",
        "init_from": ("swin_tiny=a.pth",),
        "data_dir": "/data",
        "training_recipe": "small",
    }


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"max_mac": 1}, "unknown setting 'max_mac' of a search .*did you mean 'max_macs'"),
        ({"seed": "3"}, "^seed: it should be a valid integer, not '3'$"),
        ({"init_from": 3}, "^init_from: "),
        ({"compile": "yes"}, "^compile: it should be a valid boolean"),
    ],
)
def test_wrong_keywords_are_refused_by_name(keywords: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        read_settings(keywords)


def test_refusals_speak_of_keywords_and_leave_commands_alone() -> None:
    text = "--max-macs must be positive, leave --epochs out, or run: nas search --max-macs 4M"
    assert spell_for_python(text) == (
        "max_macs must be positive, leave epochs out, or run: nas search --max-macs 4M"
    )
    assert spell_for_python("a--b and 3 --- 4") == "a--b and 3 --- 4"


def test_a_call_is_remembered_as_it_was_written() -> None:
    assert format_call("search", space="a b", retrain=2, study=None, export=False) == [
        "nas.search(space='a b', retrain=2)"
    ]
