"""``nas spaces``: what can be searched."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.completion import complete_space
from nas.cli.options import Json
from nas.cli.render import output, print_json, print_text
from nas.study.setting import OUTPUT
from search_spaces.errors import RequestError


def spaces(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="A space to show in full: skeleton, operators, knobs, encodings, size and costs of every scale.",
            autocompletion=complete_space,
        ),
    ] = None,
    as_yaml: Annotated[
        bool,
        typer.Option("--yaml", help="Print its declaration instead, for a copy.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Json = False,
) -> None:
    """List what can be searched, or show one space in full."""
    from nas.report.space_description import describe_space
    from nas.report.space_drawing import draw_space
    from nas.report.terminal import draw_spaces
    from search_spaces.declaration import known_spaces, load_declaration

    if as_yaml and name is None:
        raise RequestError("--yaml prints one space; name it, such as nas spaces twins_cswin --yaml")
    if as_yaml and as_json:
        raise RequestError("--yaml and --json exclude one another; --json has the declaration too")
    if name is not None:
        declaration = load_declaration(name)
        if as_json:
            print_json({**describe_space(declaration), "declaration": declaration.content})
        elif as_yaml:
            print_text(declaration.text)
        else:
            output.print(draw_space(describe_space(declaration)))
    elif as_json:
        print_json([describe_space(load_declaration(each)) for each in known_spaces()])
    else:
        output.print(draw_spaces())
