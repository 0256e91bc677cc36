"""All settings as Markdown: ``python -m nas.study.settings_table`` prints them for the documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nas.study.recipe import Recipe
from nas.study.recipes import RecipeOverrides
from nas.study.setting import DATA, OUTPUT, RUN, SEARCH, SPACE, TRAINING, Setting, declared_settings
from nas.study.settings import Settings


def settings_to_markdown() -> str:
    """Return a table of the settings with options, in the groups of the help, and one of a recipe's numbers."""
    options = [*declared_settings(Settings), *declared_settings(RecipeOverrides)]
    rows = [
        (
            f"`{each.flag}`",
            ", ".join(f"`{key}`" for key in each.overrides or (each.name,)),
            _format_default(each),
            each.description,
        )
        for panel in (SPACE, DATA, TRAINING, SEARCH, RUN, OUTPUT)
        for each in options
        if each.panel == panel
    ]
    recipes = [
        (f"`{each.name}`", _format_default(each), each.description) for each in declared_settings(Recipe)
    ]
    return (
        f"{_to_table(('option of `nas search`', 'in `study.yaml`', 'default', 'meaning'), rows)}\n"
        "`recipe` says how the supernet is trained and `retraining` how designs of the front are; both hold\n\n"
        f"{_to_table(('number', 'default', 'meaning'), recipes)}"
    )


def _format_default(each: Setting) -> str:
    if each.default_help is not None:
        return each.default_help
    if each.default in (None, ()):
        return ""
    return f"`{str(each.default).lower() if each.type is bool else each.default}`"


def _to_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    print(settings_to_markdown(), end="")
