"""``nas recipes``: how networks can be trained."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.completion import complete_recipe
from nas.cli.options import Json
from nas.cli.render import output, print_json, recipe_table, recipes_table


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="A recipe, whose numbers are shown with their sources.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that --recipe knows: what they cost and reach; or show the numbers of one."""
    from nas.study.named_recipes.reader import known_recipes, load_recipe

    if name is not None:
        named = load_recipe(name)
        if as_json:
            print_json(named.to_json())
        else:
            for part in recipe_table(named):
                output.print(part)
        return
    known = [load_recipe(each) for each in known_recipes()]
    if as_json:
        print_json([each.to_json() for each in known])
    else:
        output.print(recipes_table(known))
