"""Declarations of settings: complete, in agreement with what the code implements, and written into the documents."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from nas.cli.options import search_options
from nas.latency.runtime_names import RUNTIMES
from nas.search.samplers import SAMPLERS
from nas.study.recipe import Recipe
from nas.study.recipes import RecipeOverrides
from nas.study.setting import Setting, declared_settings, setting
from nas.study.settings import Settings
from nas.study.settings_table import settings_to_markdown
from search_spaces.errors import RequestError
from supernet.path_draws import DRAWS
from supernet.sampling import POLICIES
from supernet.supernet import SHARINGS


@dataclass(frozen=True)
class Example:
    number: int = setting(3, "A number.", "Search", minimum=1, maximum=9)
    least: int | None = setting(None, "A number.", minimum=2)
    word: str = setting("red", "Its colour.", option="--colour", choices=("red", "green", "blue"))


NUMBER, LEAST, WORD = declared_settings(Example)


def test_a_declaration_is_a_dataclass_field() -> None:
    assert Example() == Example(3, None, "red")
    assert (NUMBER.name, NUMBER.type, NUMBER.default, NUMBER.panel) == ("number", int, 3, "Search")
    assert (NUMBER.flag, LEAST.flag, WORD.flag) == ("--number", "--least", "--colour")
    assert (NUMBER.description, WORD.description) == ("A number.", "Its colour: red, green or blue.")


@pytest.mark.parametrize(
    ("each", "value", "says"),
    [
        (NUMBER, 0, "--number must be between 1 and 9, not 0"),
        (NUMBER, 10, "--number must be between 1 and 9, not 10"),
        (LEAST, 1, "--least must be at least 2, not 1"),
        (WORD, "gren", "--colour: unknown value 'gren' .*did you mean 'green'"),
    ],
)
def test_wrong_values_are_refused_by_the_option(each: Setting, value: object, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        each.validate(value)


def test_right_values_pass() -> None:
    for each, values in ((NUMBER, (1, 9)), (LEAST, (2, 10**9, None)), (WORD, ("red", "blue"))):
        for value in values:
            each.validate(value)


def test_choices_are_what_is_implemented() -> None:
    choices = {each.name: set(each.choices) for each in declared_settings(Settings) if each.choices}
    assert choices == {
        "latency_runtime": set(RUNTIMES),
        "sampler": set(SAMPLERS),
        "policy": set(POLICIES),
        "paths": set(DRAWS),
        "sharing": set(SHARINGS),
    }


def test_every_setting_but_the_recipes_is_an_option_once() -> None:
    names = [each.name for each in search_options()]
    assert len(names) == len(set(names)) == len({each.flag for each in search_options()})
    expected = [field.name for kind in (Settings, RecipeOverrides) for field in fields(kind)]
    assert sorted(names) == sorted({*expected} - {"own_objectives", "recipe", "retraining", "training_step"})


def test_overrides_name_numbers_of_a_recipe_of_the_same_type() -> None:
    numbers = {each.name: each.type for each in declared_settings(Recipe)}
    for override in declared_settings(RecipeOverrides):
        assert override.overrides
        for key in override.overrides:
            recipe, _, number = key.partition(".")
            if not number:  # a whole recipe, by its name
                assert override.name == "training_recipe" and recipe in ("recipe", "retraining")
                continue
            assert recipe in ("recipe", "retraining") and override.type == numbers[number] | None


def test_the_documents_table_has_every_option_and_number() -> None:
    table = settings_to_markdown()
    for each in (*search_options(), *declared_settings(Recipe)):
        row = next(
            line for line in table.splitlines() if f"`{each.name}`" in line or f"| `{each.flag}` |" in line
        )
        assert row.count("|") in (4, 5)
    for each in search_options():
        assert f"| `{each.flag}` |" in table and each.description in table
