"""``nas studies``: what was searched so far."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import Json
from nas.cli.render import format_studies, output, print_json


def studies(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER...]",
            help="Studies, or folders with studies below them.",
            show_default="studies/",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List studies and how far each is."""
    from nas.report.study_list import list_studies

    found = list_studies(places or ())
    if as_json:
        print_json([summary.to_json() for summary in found])
    elif not found:
        output.print("there are no studies under studies/; nas search makes the first one")
    else:
        output.print(format_studies(found), soft_wrap=True, markup=False)
