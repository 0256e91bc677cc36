"""The command line: ``nas search``, ``retrain``, ``export``, ``evaluate``, ``report``, ``dashboard``, ...

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the work
failed, 2 the request was wrong, 130 interrupted. Heavy libraries are imported by the commands that need
them, so that ``nas --help`` answers at once.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from nas.cli import bench, inspect, models, search
from nas.cli.process_list import hide_password
from nas.runtime.secrets import redact
from search_spaces.errors import NasError, WorkError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Neural architecture search for vision attention designs.",
)
app.command("search")(search.search)
app.command("retrain")(models.retrain)
app.command("export")(models.export)
app.command("import")(models.import_checkpoint)
app.command("evaluate")(models.evaluate)
app.command("report")(inspect.report)
app.command("dashboard")(inspect.dashboard)
app.command("analyze")(inspect.analyze)
app.command("spaces")(inspect.spaces)
app.command("show")(inspect.show)
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
    """Run the command line; every expected failure is one sentence and an exit code."""
    hide_password()
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="nas", standalone_mode=False)
    except typer.Abort:
        code = 130
    except typer.TyperException as error:
        sys.stderr.write(f"nas: {redact(_usage_sentence(error))}\n")
        code = 2
    except NasError as error:
        sys.stderr.write(f"nas: {redact(str(error))}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("nas: interrupted at once; run the same command again to resume\n")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _usage_sentence(error: typer.TyperException) -> str:
    """Return what is wrong with a command line, and which help says how it should be."""
    what = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = "nas" if context is None else context.command_path
    return f"{what[:1].lower()}{what[1:]}; {command} --help lists what can be typed"


if __name__ == "__main__":
    main()
