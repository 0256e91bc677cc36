"""The command line: ``nas search``, ``retrain``, ``export``, ``evaluate``, ``data``, ``report``, ...

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the work
failed, 2 the request was wrong, 130 interrupted; ``failures`` sees to them. Heavy libraries are imported by
the commands that need them, so that ``nas --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from nas.cli import bench, failures, inspect, models, rank, recipes, search, studies
from nas.cli.process_list import hide_password
from search_spaces.errors import WorkError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Neural architecture search for vision attention designs.",
)
app.command("search")(search.search)
app.command("retrain")(models.retrain)
app.command("rank")(rank.rank)
app.command("export")(models.export)
app.command("import")(models.import_checkpoint)
app.command("evaluate")(models.evaluate)
app.command("studies")(studies.studies)
app.command("report")(inspect.report)
app.command("dashboard")(inspect.dashboard)
app.command("analyze")(inspect.analyze)
app.command("spaces")(inspect.spaces)
app.command("recipes")(recipes.recipes)
app.command("show")(inspect.show)
app.command("data")(inspect.data)
app.command("doctor")(inspect.doctor)
app.command("bench")(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("nas")
        except metadata.PackageNotFoundError:
            raise WorkError(
                "the version is unknown since nas is not installed here; type: make setup"
            ) from None
        sys.stdout.write(f"nas {version}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """Neural architecture search for vision attention designs."""


def main() -> None:
    """Run the command line; every failure is one sentence and an exit code."""
    hide_password()
    # A shell may have closed them (``>&-``).
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be text, nor every terminal know every letter.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(failures.run(lambda: app(sys.argv[1:] or ["--help"], prog_name="nas", standalone_mode=False)))


if __name__ == "__main__":
    main()
