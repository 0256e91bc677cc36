"""The command line: ``nas search``, ``retrain``, ``export``, ``evaluate``, ``data``, ``report``, ...

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the work
failed, 2 the request was wrong, 130 interrupted; ``failures`` sees to them. Heavy libraries are imported by
the commands that need them, so that ``nas --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated

import typer

from nas.cli import bench, failures, inspect, models, rank, recipes, search, spaces, studies
from nas.cli.examples import epilog
from nas.cli.process_list import hide_password
from search_spaces.errors import WorkError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural architecture search for vision attention designs.",
    epilog="Begin with nas search --dry-run; every command's help has examples.",
)
#: Every command by the group in which the help lists it.
_COMMANDS: dict[str, dict[str, Callable[..., object]]] = {
    "Search": {"search": search.search, "retrain": models.retrain, "rank": rank.rank},
    "Models": {
        "export": models.export,
        "import": models.import_checkpoint,
        "evaluate": models.evaluate,
        "predict": models.predict,
    },
    "Look at studies": {
        "studies": studies.studies,
        "report": inspect.report,
        "dashboard": inspect.dashboard,
        "analyze": inspect.analyze,
    },
    "Look around": {
        "spaces": spaces.spaces,
        "recipes": recipes.recipes,
        "show": inspect.show,
        "data": inspect.data,
        "doctor": inspect.doctor,
        "bench": bench.bench,
    },
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel, epilog=epilog(_name))(_command)


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
